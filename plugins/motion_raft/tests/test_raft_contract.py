"""The contract that every encoder keeps."""

from __future__ import annotations

import subprocess
import sys

from expotion.testing import check_encoder
from expotion_motion_raft import SPEC


def test_conformance():
    """At 25 pictures per second: 12 fps cannot give the default's 12.5 pictures, each once."""
    check_encoder(SPEC, {"rate_hz": 25.0})


def test_announcing_imports_nothing_heavy():
    code = "import sys, expotion_motion_raft as p; p.expotion_encoders(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
