"""The contract that every encoder keeps."""

from __future__ import annotations

from expotion.testing import check_encoder
from expotion_motion_synchformer import SPEC


def test_conformance():
    check_encoder(SPEC)
