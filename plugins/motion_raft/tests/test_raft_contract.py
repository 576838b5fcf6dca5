"""The contract that every encoder keeps."""

from __future__ import annotations

from expotion.testing import check_encoder
from expotion.testing.conformance import run_checks
from expotion_motion_raft import DIS_SPEC, RAFT_SPEC


def test_conformance_of_dis_flow():
    """At 25 pictures per second: 12 fps cannot give the default's 12.5 pictures, each once."""
    check_encoder(DIS_SPEC, {"rate_hz": 25.0})


def test_conformance_of_raft():
    """Random weights find no motion, so that nothing can be said of frame rates."""
    options = {"geometry": "tiny", "weights": "seeded", "rate_hz": 1.0}
    results = {result.name: result for result in run_checks(RAFT_SPEC, options)}
    assert len(results) > 15 and [name for name, result in results.items() if result.passed is False] == [
        "frame rates"
    ]
