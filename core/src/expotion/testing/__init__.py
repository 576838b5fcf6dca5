"""For authors of plugins: the suite that every encoder passes, ours included, and clips to try things on.

A plugin's test is ten lines:

    from expotion.testing import check_encoder
    from my_plugin import SPEC

    def test_conformance() -> None:
        check_encoder(SPEC)
"""

from expotion.testing.clips import SyntheticClip, SyntheticVideo, moving_shapes
from expotion.testing.conformance import LEVELS, check_encoder, run_checks
from expotion.testing.results import CheckResult

__all__ = [
    "LEVELS",
    "CheckResult",
    "SyntheticClip",
    "SyntheticVideo",
    "check_encoder",
    "moving_shapes",
    "run_checks",
]
