"""Scores of every condition on every clip, their means with intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from expotion.contracts import MetricSpec, Score, Scored
from expotion.errors import ExpotionError, Problem
from expotion.evaluation.statistics import mean_interval, paired_difference

Row = dict[str, dict[str, float | int | None]]
"""Metric name -> {mean, ci_low, ci_high, n}."""
ClipRow = dict[str, dict[str, float | str | None]]
"""Metric name -> {value, reason}."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, in the shapes of its three files.

    `metrics`: condition -> metric -> {mean, ci_low, ci_high, n}. `per_clip`: condition -> clip id -> metric
    -> {value, reason}. `comparisons`: baseline -> condition -> metric -> {mean, ci_low, ci_high, n} of
    condition minus baseline, over the clips that both have.
    """

    metrics: dict[str, Row]
    per_clip: dict[str, dict[str, ClipRow]]
    comparisons: dict[str, dict[str, Row]]


def evaluate(
    conditions: Mapping[str, Sequence[Scored]],
    specs: Sequence[MetricSpec],
    *,
    seed: int = 0,
    baselines: Sequence[str] = ("text_only", "shuffled"),
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score every sound of every condition.

    Args:
        conditions: sounds by condition, in the order of the table; paired among conditions by clip id.
        specs: metrics, see `registry.choose_metrics`.
        seed: of the bootstrap.
        baselines: conditions that every other one is compared with; those that are absent are left out.
        on_progress: told (condition, sounds done, sounds in all) after each sound.

    A metric that fails on a clip, or cannot be built, gives no value and its message as the reason; the rest
    goes on. Raises ExpotionError where a condition holds the same clip twice.
    """
    _check_unique(conditions)
    functions = {spec.name: _built(spec) for spec in specs}
    total = sum(len(sounds) for sounds in conditions.values())
    done = 0
    per_clip: dict[str, dict[str, ClipRow]] = {}
    for condition, sounds in conditions.items():
        rows: dict[str, ClipRow] = {}
        for scored in sounds:
            rows[scored.clip.id] = {name: _scored(function, scored) for name, function in functions.items()}
            done += 1
            if on_progress is not None:
                on_progress(condition, done, total)
        per_clip[condition] = rows
    return summarise(per_clip, [spec.name for spec in specs], seed=seed, baselines=baselines)


def summarise(
    per_clip: dict[str, dict[str, ClipRow]],
    metrics: Sequence[str],
    *,
    seed: int = 0,
    baselines: Sequence[str] = ("text_only", "shuffled"),
) -> Evaluation:
    """Means, intervals and paired differences from the values per clip."""
    summary: dict[str, Row] = {}
    for condition, rows in per_clip.items():
        summary[condition] = {
            name: mean_interval(list(_values(rows, name).values()), seed=seed).as_dict() for name in metrics
        }
    comparisons: dict[str, dict[str, Row]] = {}
    for baseline in baselines:
        if baseline not in per_clip:
            continue
        comparisons[baseline] = {
            condition: {
                name: paired_difference(
                    _values(rows, name), _values(per_clip[baseline], name), seed=seed
                ).as_dict()
                for name in metrics
            }
            for condition, rows in per_clip.items()
            if condition != baseline
        }
    return Evaluation(summary, per_clip, comparisons)


def _values(rows: Mapping[str, ClipRow], metric: str) -> dict[str, float]:
    """Defined values of a metric by clip id."""
    found: dict[str, float] = {}
    for clip_id, row in rows.items():
        value = row[metric]["value"] if metric in row else None
        if isinstance(value, (int, float)):
            found[clip_id] = float(value)
    return found


def _built(spec: MetricSpec) -> Callable[[Scored], Score]:
    """The metric's function; where building fails, one that says why."""
    try:
        return spec.build()
    except Exception as error:  # a plugin's metric must not take the evaluation down
        reason = f"the metric could not be loaded: {_message(error)}"
        return lambda scored: Score(None, reason)


def _scored(function: Callable[[Scored], Score], scored: Scored) -> dict[str, float | str | None]:
    """One value with its reason; never raises for a metric's fault, never returns NaN."""
    try:
        score = function(scored)
        value = None if score.value is None else float(score.value)
    except Exception as error:  # a plugin's metric must not take the evaluation down
        return {"value": None, "reason": f"the metric failed: {_message(error)}"}
    if value is not None and not math.isfinite(value):
        return {"value": None, "reason": score.reason or f"the metric gave {value}"}
    return {"value": value, "reason": score.reason}


def _message(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _check_unique(conditions: Mapping[str, Sequence[Scored]]) -> None:
    problems = []
    for condition, sounds in conditions.items():
        ids = [scored.clip.id for scored in sounds]
        for clip_id in sorted({clip_id for clip_id in ids if ids.count(clip_id) > 1}):
            problems.append(
                Problem(f"evaluation, condition '{condition}'", "each clip once", f"'{clip_id}' again")
            )
    if problems:
        raise ExpotionError(problems)
