"""Which suite a name is checked by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expotion.errors import ExpotionError, Problem
from expotion.plugins import discover
from expotion.testing import (
    CheckResult,
    run_captioner_checks,
    run_checks,
    run_data_source_checks,
    run_metric_checks,
)


def results_of(name: str, options: dict[str, Any], tracks: Sequence[str], level: str) -> list[CheckResult]:
    """Results of the suite of whatever has that name. Raises PluginError where nothing has."""
    registry = discover()
    if name in registry.metrics and name not in registry.encoders:
        return run_metric_checks(registry.metric(name))
    if name in registry.data_sources and name not in registry.encoders:
        return run_data_source_checks(registry.data_source(name), options)
    if name in registry.captioners and name not in registry.encoders:
        return run_captioner_checks(registry.captioner(name), options)
    return run_checks(registry.encoder(name), options, tracks=_files(tracks), level=level)


def _files(assignments: Sequence[str]) -> dict[str, Path]:
    files = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        path = Path(value).expanduser()
        if not equals or not path.is_file():
            got = None if not equals else "no such file"
            raise ExpotionError(Problem(f"--track {assignment}", "NAME=FILE with a file that is there", got))
        files[key] = path
    return files
