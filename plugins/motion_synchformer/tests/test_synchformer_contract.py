"""The contract that every encoder keeps."""

from __future__ import annotations

import subprocess
import sys

from expotion.testing import check_encoder
from expotion_motion_synchformer import SPEC


def test_conformance():
    check_encoder(SPEC)


def test_announcing_imports_nothing_heavy():
    code = "import sys, expotion_motion_synchformer as p; p.expotion_encoders(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
