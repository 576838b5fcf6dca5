"""The suite of metrics, of single sounds and over sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from expotion.contracts import Clip, MetricSpec, Score, Scored
from expotion.errors import Problem
from expotion.testing.clips import SyntheticClip
from expotion.testing.subject import CheckResult, Failed, raise_failed, run_all

_SAMPLE_RATE_HZ = 32_000


def check_metric(spec: MetricSpec, clip: Clip | None = None) -> list[CheckResult]:
    """Run the suite of a metric; raises AssertionError that lists every failure and what to do about it."""
    return raise_failed("metric", spec.name, run_metric_checks(spec, clip))


def run_metric_checks(spec: MetricSpec, clip: Clip | None = None) -> list[CheckResult]:
    """Results of all checks of a metric, without raising for a failed one.

    Where a package or weights are missing, what is missing must be said clearly; the metric is then not called.
    """
    lacking = spec.missing()
    if lacking:
        return run_all([("spec", lambda: _described(spec)), ("what is missing", lambda: _said(lacking))])
    subject = clip or SyntheticClip()
    rate_hz = spec.sample_rate_hz or _SAMPLE_RATE_HZ
    function = cache(spec.build)  # built by the first check that needs it, so that its failure is that check's

    def scored(samples: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        return function()(Scored(samples.copy(), rate_hz, subject, subject.caption))

    sound = subject.audio(rate_hz)
    music = sound if sound is not None else np.zeros(rate_hz, np.float32)
    shown = _rows if spec.over == "set" else _number

    def repeatable() -> str:
        if not _same(scored(music), scored(music)):
            raise Failed("two calls on the same sound differ", "seed what is random")
        return "two calls agree"

    def input_kept() -> str:
        given = music.copy()
        function()(Scored(given, rate_hz, subject, subject.caption))
        if not np.array_equal(given, music):
            raise Failed("the samples were changed", "work on a copy")
        return "the samples are untouched"

    return run_all(
        [
            ("spec", lambda: _described(spec)),
            ("value", lambda: shown(scored(music))),
            ("determinism", repeatable),
            ("input", input_kept),
            ("silence", lambda: shown(scored(np.zeros(rate_hz, np.float32)))),
            ("20 ms", lambda: shown(scored(music[: rate_hz // 50]))),
            ("no samples", lambda: shown(scored(music[:0]))),
        ]
    )


def _number(score: Score) -> str:
    if not isinstance(score, Score):
        raise Failed(f"got {type(score).__name__}", "return a Score")
    if score.value is None:
        if not score.reason:
            raise Failed("no value and no reason", "say in `reason` why there is no value")
        return f"none: {score.reason}"
    if not math.isfinite(score.value):
        raise Failed(f"got {score.value}", "return Score(None, reason) where the metric is not defined")
    return f"{score.value:.4g}"


def _rows(found: Any) -> str:
    if isinstance(found, Score):
        if found.value is not None:
            raise Failed("a value where rows are wanted", "return rows [k, d], or Score(None, reason)")
        return _number(found)
    rows = np.asarray(found)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise Failed(f"rows of shape {rows.shape}", "return finite rows [k, d]")
    return f"{rows.shape[0]} rows of {rows.shape[1]}"


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Score) or isinstance(second, Score):
        return bool(first == second)
    return np.array_equal(first, second)


def _said(lacking: Sequence[Problem]) -> str:
    mute = [problem for problem in lacking if not problem.fix]
    if mute:
        raise Failed(f"{mute[0]}: no fix is named", "say what to install or to pull")
    return "; ".join(str(problem) for problem in lacking)


def _described(spec: MetricSpec) -> str:
    if not spec.description:
        raise Failed("no description", "say in one sentence what is measured")
    if spec.over == "set" and spec.statistic is None:
        raise Failed("a metric over a set without a statistic", "name one of core's, or give a function")
    return f"{'higher' if spec.higher_is_better else 'lower'} is better, unit {spec.unit or 'none'}"
