"""Scores of every condition on every clip, their means with intervals, and paired differences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expotion.contracts import MetricSpec, Score, Scored
from expotion.errors import FAULTS, ExpotionError, Problem, RunFolderError, in_short
from expotion.evaluate.sets import SetScores, at_rate, score_sets, set_difference
from expotion.evaluate.statistics import N_RESAMPLES, Difference, corrected, difference, mean_interval
from expotion.files import write_json

Row = dict[str, dict[str, float | int | None]]
"""Metric name -> {mean, ci_low, ci_high, n}."""
ClipRow = dict[str, dict[str, float | str | None]]
"""Metric name -> {value, reason}."""

Progress = Callable[[str, int, int], None]
Given = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Metric name -> condition -> clip id -> value."""
NOT_GIVEN = "it is not of this row"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, in the shapes of its files.

    `metrics`: condition -> metric -> {mean, ci_low, ci_high, n}. `per_clip`: condition -> clip id -> metric
    -> {value, reason}. `comparisons`: baseline -> condition -> metric -> {mean, ci_low, ci_high, n, p, p_holm} of
    condition minus baseline, over the clips that both have; `p_holm` is corrected for all of them. Metrics over a
    set have no entry in `per_clip`; their `mean` is the value over the set. `notes`: metric -> what it was measured
    with, and warnings.
    """

    metrics: dict[str, Row]
    per_clip: dict[str, dict[str, ClipRow]]
    comparisons: dict[str, dict[str, Row]]
    notes: dict[str, list[str]] = field(default_factory=dict)


def evaluate(
    conditions: Mapping[str, Sequence[Scored]],
    specs: Sequence[MetricSpec],
    *,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    baselines: Sequence[str] = ("text_only", "shuffled"),
    given: Given | None = None,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Score every sound of every condition.

    Args:
        conditions: sounds by condition, in the order of the table; paired among conditions by clip id.
        specs: metrics.
        seed: of the bootstrap.
        n_resamples: draws of the bootstrap.
        baselines: conditions that every other one is compared with; those that are absent are left out.
        given: values of metrics that are not of the sound alone; their `build` is not called.
        on_progress: told (condition, sounds done, sounds in all) after each sound.

    A metric that fails on a clip, or cannot be built, gives no value and its message as the reason; the rest
    goes on. Raises ExpotionError where a condition holds the same clip twice.
    """
    _check_unique(conditions)
    given = given or {}
    of_clips = [spec for spec in specs if spec.over == "clip"]
    functions = {spec.name: (_built(spec), spec.sample_rate_hz) for spec in of_clips if spec.name not in given}
    over_sets = [spec for spec in specs if spec.over == "set"]
    total = sum(len(sounds) for sounds in conditions.values())
    done = 0
    per_clip: dict[str, dict[str, ClipRow]] = {}
    for condition, sounds in conditions.items():
        rows: dict[str, ClipRow] = {}
        for scored in sounds:
            rows[scored.clip.id] = {
                name: _scored(function, at_rate(scored, rate_hz)) for name, (function, rate_hz) in functions.items()
            }
            for name, by_condition in given.items():
                known = by_condition.get(condition, {}).get(scored.clip.id)
                rows[scored.clip.id][name] = {"value": known, "reason": None if known is not None else NOT_GIVEN}
            done += 1
            if on_progress is not None:
                on_progress(condition, done, total)
        per_clip[condition] = rows
    values = {
        condition: {spec.name: values_of(rows, spec.name) for spec in of_clips}
        for condition, rows in per_clip.items()
    }
    sets = score_sets(conditions, over_sets, on_progress=on_progress) if over_sets else SetScores()
    options: dict[str, int] = {"seed": seed, "n_resamples": n_resamples}

    def summary(condition: str, spec: MetricSpec) -> dict[str, Any]:
        if spec.over == "set":
            return sets.by_condition[condition][spec.name].as_dict()
        return mean_interval(list(values[condition][spec.name].values()), **options).as_dict()

    def against(baseline: str, condition: str, spec: MetricSpec) -> Difference:
        if spec.over == "set":
            return set_difference(*([sets.by_condition[name][spec.name]] for name in (condition, baseline)))
        return difference([values[condition][spec.name]], [values[baseline][spec.name]], **options)

    pairs = [(base, other) for base in baselines if base in values for other in values if other != base]
    found = corrected({(*pair, spec.name): against(*pair, spec) for pair in pairs for spec in specs})
    comparisons: dict[str, dict[str, Row]] = {base: {} for base, _ in pairs}
    for (base, condition, metric), one in found.items():
        comparisons[base].setdefault(condition, {})[metric] = one.as_dict()
    metrics = {condition: {spec.name: summary(condition, spec) for spec in specs} for condition in values}
    said = {spec.name: [*filter(None, [spec.measured_with()]), *sets.notes.get(spec.name, [])] for spec in specs}
    return Evaluation(metrics, per_clip, comparisons, {name: lines for name, lines in said.items() if lines})


def values_of(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], metric: str) -> dict[str, float]:
    """Defined values of a metric by clip id."""
    found = {clip_id: row.get(metric, {}).get("value") for clip_id, row in rows.items()}
    return {clip_id: float(value) for clip_id, value in found.items() if isinstance(value, (int, float))}


def _built(spec: MetricSpec) -> Callable[[Scored], Score]:
    """The metric's function; where building fails, one that says why."""
    try:
        return spec.build()
    except FAULTS as error:  # a plugin's metric must not take the evaluation down
        reason = f"the metric could not be loaded: {in_short(error)}"
        return lambda scored: Score(None, reason)


def _scored(function: Callable[[Scored], Score], scored: Scored) -> dict[str, float | str | None]:
    """One value with its reason; never raises for a metric's fault, never returns NaN."""
    try:
        score = function(scored)
        value = None if score.value is None else float(score.value)
    except FAULTS as error:  # a plugin's metric must not take the evaluation down
        return {"value": None, "reason": f"the metric failed: {in_short(error)}"}
    if value is not None and not math.isfinite(value):
        return {"value": None, "reason": score.reason or f"the metric gave {value}"}
    return {"value": value, "reason": score.reason}


def _check_unique(conditions: Mapping[str, Sequence[Scored]]) -> None:
    ids = {condition: [scored.clip.id for scored in sounds] for condition, sounds in conditions.items()}
    problems = [
        Problem(f"evaluation, condition '{condition}'", "each clip once", f"'{clip_id}' again")
        for condition, own in ids.items()
        for clip_id in sorted({clip_id for clip_id in own if own.count(clip_id) > 1})
    ]
    if problems:
        raise ExpotionError(problems)


# The files of an evaluation in a run folder, written whole or not at all.

METRICS = "metrics.json"
PER_CLIP = "metrics_per_clip.json"
COMPARISONS = "comparisons.json"
NOTES = "metrics_notes.json"


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the notes, metrics_per_clip.json and comparisons.json; metrics.json last.

    Raises OutputError where the folder cannot be written to.
    """
    write_json(folder / PER_CLIP, evaluation.per_clip)
    write_json(folder / COMPARISONS, evaluation.comparisons)
    write_json(folder / NOTES, evaluation.notes)
    write_json(folder / METRICS, evaluation.metrics)


def load_evaluation(folder: Path) -> Evaluation:
    """Read what `write_evaluation` wrote. Raises RunFolderError where a file is missing or broken."""
    notes = _read(folder / NOTES, 0) if (folder / NOTES).exists() else {}
    summary = ("mean", "ci_low", "ci_high", "n")
    metrics, per_clip = _read(folder / METRICS, 2, *summary), _read(folder / PER_CLIP, 3, "value")
    return Evaluation(metrics, per_clip, _read(folder / COMPARISONS, 3, *summary), notes)


def _read(path: Path, depth: int, *numbers: str) -> dict[str, Any]:
    """A JSON object of objects, `depth` levels down to rows that have these numbers."""
    got = "something else"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if _holds(content, depth, numbers):
            return content
    except (OSError, ValueError) as error:
        got = str(error)
    fix = f"measure again: expotion recipe run --resume {path.parent}"
    raise RunFolderError(Problem(str(path), "the scores of a finished evaluation", got, fix))


def _holds(content: Any, depth: int, numbers: Sequence[str]) -> bool:
    if not isinstance(content, dict):
        return False
    if depth:
        return all(_holds(each, depth - 1, numbers) for each in content.values())
    return all(name in content and isinstance(content[name], int | float | None) for name in numbers)
