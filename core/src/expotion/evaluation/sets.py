"""Metrics over a set of sounds (FAD, inception score): rows of each sound once, then a number per condition.

Intervals are a delete-a-group jackknife over clips (Efron and Tibshirani 1993, ch. 11): the statistic is computed
again without each group of clips, in the sounds and in the reference, and its spread gives the interval with
Student's t. The bootstrap would draw clips twice, which makes a set look narrower than it is and moves a Fréchet
distance upwards, often so far that the interval does not hold the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from expotion.contracts import MetricSpec, Rows, Score, Scored
from expotion.data.audio import resample
from expotion.evaluation.frechet import frechet, frechet_infinity
from expotion.evaluation.inception import inception_score

MAX_GROUPS = 32
Statistic = Callable[[Sequence[Rows], Sequence[Rows]], Score]
STATISTICS: Mapping[str, Statistic] = {
    "frechet": frechet,
    "frechet_infinity": frechet_infinity,
    "inception_score": inception_score,
}
Progress = Callable[[str, int, int], None]
Numbers = dict[str, float | int | None]


@dataclass(frozen=True)
class SetScore:
    """A statistic over `n` sounds; `left_out` are its values without each group of clips, [G] (NaN: undefined)."""

    value: float | None
    n: int
    left_out: tuple[float, ...] = ()

    def as_dict(self) -> Numbers:
        """{mean, ci_low, ci_high, n}; `mean` is the value over the set. Without a spread the interval is empty."""
        return _interval(self.value, self.left_out, self.n)


@dataclass(frozen=True)
class SetScores:
    """`by_condition`: condition -> metric -> score. `notes`: metric -> sentences about how it was computed."""

    by_condition: dict[str, dict[str, SetScore]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def difference(self, condition: str, baseline: str, metric: str) -> Numbers:
        """Condition minus baseline with its interval; the same clips are left out of both."""
        ours, theirs = (self.by_condition[name][metric] for name in (condition, baseline))
        if ours.value is None or theirs.value is None:
            return _interval(None, (), 0)
        paired = len(ours.left_out) == len(theirs.left_out)  # a single sound has nothing to leave out
        left = [a - b for a, b in zip(ours.left_out, theirs.left_out, strict=True)] if paired else []
        return _interval(ours.value - theirs.value, left, min(ours.n, theirs.n))


def score_sets(
    conditions: Mapping[str, Sequence[Scored]],
    specs: Sequence[MetricSpec],
    *,
    on_progress: Progress | None = None,
) -> SetScores:
    """Every set metric of every condition; `on_progress` is told (condition, sounds done, sounds in all).

    The reference of a condition are the own sounds of its clips. A sound whose rows cannot be computed is left
    out and named in the notes; a metric that cannot be built has no value and says why there.
    """
    found = SetScores({condition: {} for condition in conditions})
    ids = list(dict.fromkeys(scored.clip.id for sounds in conditions.values() for scored in sounds))
    group_of = {clip_id: i % min(MAX_GROUPS, max(1, len(ids))) for i, clip_id in enumerate(ids)}
    builds = list(dict.fromkeys((spec.build, spec.sample_rate_hz) for spec in specs))
    total = len(builds) * sum(len(sounds) for sounds in conditions.values())
    done = 0
    for build, rate_hz in builds:
        sharing = [spec for spec in specs if (spec.build, spec.sample_rate_hz) == (build, rate_hz)]
        notes: list[str] = []
        said: dict[str, dict[str, list[str]]] = {spec.name: {} for spec in sharing}
        rows_of = _RowMaker(build, rate_hz, notes)
        known: dict[str, Rows | None] = {}
        for condition, sounds in conditions.items():
            kept: dict[str, tuple[Rows, Rows | None]] = {}
            for scored in sounds:
                rows = rows_of(scored, f"{condition}, {scored.clip.id}")
                if scored.clip.id not in known:
                    known[scored.clip.id] = rows_of.own_sound(scored)
                if rows is not None:
                    kept[scored.clip.id] = (rows, known[scored.clip.id])
                done += 1
                if on_progress is not None:
                    on_progress(condition, done, total)
            for spec in sharing:
                score, note = _score(spec, kept, group_of)
                found.by_condition[condition][spec.name] = score
                if note:
                    said[spec.name].setdefault(note, []).append(condition)
        for spec in sharing:
            lines = [
                note if len(where) == len(conditions) else f"{', '.join(where)}: {note}"
                for note, where in said[spec.name].items()
            ]
            if lines or notes:
                found.notes[spec.name] = [*lines, *dict.fromkeys(notes)]
    return found


def _score(
    spec: MetricSpec, kept: Mapping[str, tuple[Rows, Rows | None]], group_of: Mapping[str, int]
) -> tuple[SetScore, str | None]:
    statistic = STATISTICS[spec.statistic] if isinstance(spec.statistic, str) else spec.statistic
    if statistic is None:
        return SetScore(None, 0), "the metric names no statistic"

    def value(left_out: int | None) -> Score:
        chosen = [both for clip_id, both in kept.items() if group_of[clip_id] != left_out]
        try:
            score = statistic([rows for rows, _ in chosen], [own for _, own in chosen if own is not None])
        except Exception as error:  # a plugin's statistic must not take the evaluation down
            return Score(None, f"the statistic failed: {message(error)}")
        if score.value is not None and not np.isfinite(score.value):
            return Score(None, score.reason or f"the statistic gave {score.value}")
        return score

    whole = value(None)
    if whole.value is None:
        return SetScore(None, 0), whole.reason
    groups = range(1 + max(group_of.values(), default=0))
    left = [value(group).value for group in groups] if len(kept) > 1 else []
    numbers = tuple(float("nan") if number is None else float(number) for number in left)
    return SetScore(float(whole.value), len(kept), numbers), whole.reason


class _RowMaker:
    """Rows of a sound, or None with the reason noted once."""

    def __init__(
        self, build: Callable[[], Callable[[Scored], Any]], rate_hz: int | None, notes: list[str]
    ) -> None:
        self.rate_hz, self.notes = rate_hz, notes
        self.function: Callable[[Scored], Any] | None = None
        try:
            self.function = build()
        except Exception as error:  # a plugin's metric must not take the evaluation down
            notes.append(f"the metric could not be loaded: {message(error)}")

    def __call__(self, scored: Scored, where: str) -> Rows | None:
        if self.function is None:
            return None
        try:
            rows = self.function(at_rate(scored, self.rate_hz))
            if isinstance(rows, Score):
                raise ValueError(rows.reason or "no value")
            rows = np.asarray(rows, dtype=np.float32)
            if rows.ndim != 2 or not np.isfinite(rows).all():
                raise ValueError(f"rows must be finite and [k, d], got shape {rows.shape}")
        except Exception as error:
            self.notes.append(f"{where}: left out, {message(error)}")
            return None
        return rows

    def own_sound(self, scored: Scored) -> Rows | None:
        """Rows of what the clip itself sounds like; None where it has no sound."""
        try:
            samples = scored.clip.audio(scored.sample_rate_hz)
        except Exception as error:
            self.notes.append(f"own sound of {scored.clip.id}: left out, {message(error)}")
            return None
        if samples is None:
            return None
        own = Scored(samples, scored.sample_rate_hz, scored.clip)
        return self(own, f"own sound of {scored.clip.id}")


def at_rate(scored: Scored, rate_hz: int | None) -> Scored:
    """The sound at the rate that a metric asks for."""
    if rate_hz is None or scored.sample_rate_hz == rate_hz:
        return scored
    samples = resample(scored.samples, scored.sample_rate_hz, rate_hz)
    return Scored(samples, rate_hz, scored.clip, scored.prompt)


def message(error: Exception) -> str:
    """An exception in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _interval(value: float | None, left_out: Sequence[float], n: int) -> Numbers:
    if value is None:
        return {"mean": None, "ci_low": None, "ci_high": None, "n": 0}
    left = np.asarray(left_out, dtype=np.float64)
    if len(left) < 2 or not np.isfinite(left).all():
        return {"mean": value, "ci_low": value, "ci_high": value, "n": n}
    from scipy.stats import t  # noqa: PLC0415

    variance = (len(left) - 1) / len(left) * float(np.sum((left - left.mean()) ** 2))
    half = float(t.ppf(0.975, len(left) - 1)) * float(np.sqrt(variance))
    return {"mean": value, "ci_low": value - half, "ci_high": value + half, "n": n}
