"""For authors of plugins: the suites that every plugin passes, ours included, and clips to try things on.

A plugin's test is ten lines:

    from expotion.testing import check_encoder
    from my_plugin import SPEC

    def test_conformance() -> None:
        check_encoder(SPEC)

`check_metric`, `check_data_source` and `check_captioner` are the suites of the other kinds.
"""

from expotion.testing.clips import SyntheticClip, SyntheticVideo, moving_shapes
from expotion.testing.conformance import LEVELS, check_encoder, run_checks
from expotion.testing.metrics import check_metric, run_metric_checks
from expotion.testing.others import check_captioner, check_data_source, run_captioner_checks, run_data_source_checks
from expotion.testing.subject import CheckResult

__all__ = [
    "LEVELS",
    "CheckResult",
    "SyntheticClip",
    "SyntheticVideo",
    "check_captioner",
    "check_data_source",
    "check_encoder",
    "check_metric",
    "moving_shapes",
    "run_captioner_checks",
    "run_checks",
    "run_data_source_checks",
    "run_metric_checks",
]
