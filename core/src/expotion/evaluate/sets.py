"""Metrics over a set of sounds (FAD, inception score): rows of each sound once, then a number per condition.

Intervals are a delete-a-group jackknife over clips (Efron and Tibshirani 1993, ch. 11): the statistic is computed
again without each group of clips, in the sounds and in the reference, and its spread gives the interval with
Student's t; that of a share is symmetric in its log odds, so that it ends between 0 and 1. The bootstrap would
draw clips twice, which makes a set look narrower than it is and moves a Fréchet distance upwards, often so far
that the interval does not hold the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from expotion.contracts import MetricSpec, Rows, Score, Scored
from expotion.errors import FAULTS, in_short
from expotion.evaluate.statistics import Difference, Estimate, Interval, jackknife
from expotion.video.audio import resample

# Fréchet distance between two sets of embeddings, and its value extrapolated to an endless set.
#
# Fréchet audio distance (Kilgour et al. 2019, after Heusel et al. 2017): both sets are taken as Gaussians,
#
#     d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2),   C with n - 1 in the denominator.
#
# With centred rows A [n, D] and B [m, D], C1 = A'A / (n - 1) and C2 = B'B / (m - 1), so tr (C1 C2)^(1/2) is the sum
# of the singular values of A B' / sqrt((n - 1)(m - 1)). That is exact also where a covariance is singular, needs no
# matrix square root, no complex numbers and no small number on the diagonal.
#
# The distance of a finite set is too large by about c / n. FAD-infinity (Gui et al. 2024, after Chong and Forsyth
# 2020) draws subsets of the evaluated set, fits d(n) = d_inf + c / n and reports d_inf; the reference stays whole.

MIN_ROWS = 2
MIN_SOUNDS_INFINITY = 8
_N_SIZES = 15
_N_DRAWS = 2
_SMALLEST = 0.25  # of the set: the smallest subset that is drawn


def frechet_distance(rows: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Fréchet distance of rows [n, D] and reference rows [m, D], n and m at least 2; never below 0."""
    return _distance(_gaussian(rows), _gaussian(reference))


def frechet(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """Fréchet distance of all rows of the sounds and of the reference; a note where the sets are small."""
    rows, known = _stacked(sounds), _stacked(reference)
    if len(rows) < MIN_ROWS or len(known) < MIN_ROWS:
        return Score(None, "it needs at least two windows of sound on either side")
    return Score(frechet_distance(rows, known), _warning(rows, known))


def frechet_infinity(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """The Fréchet distance extrapolated to an endless set of sounds; it may fall a little below 0.

    Whole sounds are drawn, because windows of one sound are not independent. Fewer than 8 sounds give no value.
    """
    kept = [rows for rows in sounds if len(rows)]
    known = _stacked(reference)
    if len(kept) < MIN_SOUNDS_INFINITY:
        return Score(None, f"the extrapolation needs at least {MIN_SOUNDS_INFINITY} sounds, got {len(kept)}")
    if len(known) < MIN_ROWS:
        return Score(None, "it needs at least two windows of reference sound")
    target = _gaussian(known)
    rng = np.random.default_rng(0)
    smallest = max(MIN_ROWS, round(_SMALLEST * len(kept)))
    sizes = np.unique(np.linspace(smallest, len(kept), _N_SIZES).round().astype(int))
    inverse, distances = [], []
    for size in sizes.tolist():
        for _ in range(_N_DRAWS if size < len(kept) else 1):
            drawn = rng.choice(len(kept), size=size, replace=False)
            rows = _stacked([kept[i] for i in drawn])
            if len(rows) >= MIN_ROWS:
                inverse.append(1.0 / size)
                distances.append(_distance(_gaussian(rows), target))
    slope, intercept = np.polyfit(inverse, distances, 1)
    fitted = slope * np.asarray(inverse) + intercept
    spread = float(np.sum((np.asarray(distances) - np.mean(distances)) ** 2))
    explained = 1 - float(np.sum((np.asarray(distances) - fitted) ** 2)) / spread if spread > 0 else 1.0
    note = None
    if explained < 0.5:
        note = f"the distance does not fall as 1/n here (R2 {explained:.2f}): too few sounds to extrapolate"
    return Score(float(intercept), note)


Gaussian = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Mean [D] and a root [k, D] of the covariance: root' root = C, with as few rows k as can be."""


def _gaussian(rows: NDArray[np.floating]) -> Gaussian:
    exact = np.asarray(rows, dtype=np.float64)
    mean = exact.mean(axis=0)
    root = (exact - mean) / np.sqrt(len(exact) - 1)
    if root.shape[0] > root.shape[1]:
        root = np.linalg.qr(root, mode="r")
    return mean, root


def _distance(first: Gaussian, second: Gaussian) -> float:
    shared = np.linalg.svd(first[1] @ second[1].T, compute_uv=False).sum()
    apart = np.sum((first[0] - second[0]) ** 2)
    spread = np.sum(first[1] ** 2) + np.sum(second[1] ** 2)
    return max(0.0, float(apart + spread - 2 * shared))


def _stacked(parts: Sequence[Rows]) -> NDArray[np.float64]:
    """All rows of a set, float64 [n, D]; [0, 1] where there are none."""
    kept = [np.asarray(part, dtype=np.float64) for part in parts if len(part)]
    return np.concatenate(kept) if kept else np.zeros((0, 1))


def _warning(rows: NDArray[np.float64], reference: NDArray[np.float64]) -> str | None:
    if rows.shape == reference.shape and np.array_equal(rows, reference):
        return "the set is compared with itself: 0 by construction"
    dimensions = rows.shape[1]
    least = min(len(rows), len(reference))
    if least <= dimensions:
        return (
            f"{least} windows of {dimensions} dimensions: a covariance is singular and the distance is far too "
            "large (its bias falls as 1/n); compare only with sets of the same size"
        )
    if least < 10 * dimensions:
        return f"{least} windows of {dimensions} dimensions: the distance is biased upwards by the small sets"
    return None


# Inception score: are the sounds each clearly of a class, and of many classes as a set?
#
#     IS = exp(mean over rows of KL(p(y | row) || p(y))),   p(y) the mean over rows
#
# (Salimans et al. 2016; on audio classifiers since). 1 is the least, the number of classes the most. The set is not
# split into tenths as for images: with few sounds that only lowers the value. It looks at no reference.

SMALL_SET = 100


def inception_score(sounds: Sequence[Rows], reference: Sequence[Rows]) -> Score:
    """Inception score of rows of class probabilities, each [k, C] and summing to 1; `reference` is not used."""
    del reference
    kept = [np.asarray(rows, dtype=np.float64) for rows in sounds if len(rows)]
    if len(kept) < 2:
        return Score(None, "it needs at least two sounds")
    rows = np.concatenate(kept)
    if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > 1e-3:
        return Score(None, "the rows are not class probabilities")
    note = None
    if len(rows) < SMALL_SET:
        note = f"{len(rows)} windows: the score grows with the number of sounds; compare only sets of one size"
    return Score(float(np.exp(divergence(rows, rows.mean(axis=0)).mean())), note)


def divergence(rows: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(rows || other) in nats, [n] of rows [n, C]; 0 log 0 is 0."""
    logs = np.log(np.where(rows > 0, rows, 1.0)) - np.log(np.where(other > 0, other, 1e-300))
    return np.asarray((rows * logs).sum(axis=-1), dtype=np.float64)


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
    """A statistic over `n` sounds; `left_out` are its values without each group of clips, [G] (NaN: undefined).

    A `share` lies between 0 and 1.
    """

    value: float | None
    n: int
    left_out: tuple[float, ...] = ()
    share: bool = False

    def as_dict(self) -> Numbers:
        """{mean, ci_low, ci_high, n}; `mean` is the value over the set. Without a spread the interval is empty."""
        found = set_estimate([self])
        ends = [found.mean if end is None else end for end in (found.ci_low, found.ci_high)]
        return Interval(found.mean, ends[0], ends[1], self.n).as_dict()


@dataclass(frozen=True)
class SetScores:
    """`by_condition`: condition -> metric -> score. `notes`: metric -> sentences about how it was computed."""

    by_condition: dict[str, dict[str, SetScore]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


# Several seeds as one number, by jackknife over clips and the spread of seeds.


def set_estimate(scores: Sequence[SetScore]) -> Estimate:
    """Mean over seeds of a statistic over the set."""
    defined = [score for score in scores if score.value is not None]
    if not defined:
        return Estimate(None, None, None, 0, 0)
    value, left = _mean(defined)
    reach = jackknife(list(left), [float(score.value or 0.0) for score in defined])
    low, high = (None, None) if reach is None else (value - reach[0], value + reach[0])
    if reach is not None and defined[0].share and 0.0 < value < 1.0:
        half = reach[0] / (value * (1.0 - value))  # of the log odds
        low, high = (float(expit(logit(value) + end)) for end in (-half, half))
    return Estimate(value, low, high, min(score.n for score in defined), len(defined))


def set_difference(ours: Sequence[SetScore], theirs: Sequence[SetScore]) -> Difference:
    """Ours minus theirs; the same clips are left out of both in the jackknife. `p` by Student's t."""
    left, right = ([s for s in side if s.value is not None] for side in (ours, theirs))
    if not left or not right:
        return Difference(None, None, None, 0, None)
    (a, a_left), (b, b_left) = _mean(left), _mean(right)
    n = min(score.n for score in (*left, *right))
    spread = [float(s.value or 0.0) - b for s in left] if len(right) == 1 else []
    reach = jackknife(list(a_left - b_left) if len(a_left) == len(b_left) else [], spread)
    if reach is None:
        return Difference(a - b, None, None, n, None)
    from scipy.special import stdtr  # noqa: PLC0415

    half, error, freedom = reach
    p = 1.0 if error == 0.0 and a == b else 0.0 if error == 0.0 else float(2 * stdtr(freedom, -abs(a - b) / error))
    return Difference(a - b, a - b - half, a - b + half, n, min(1.0, p))


def _mean(scores: Sequence[SetScore]) -> tuple[float, NDArray[np.float64]]:
    """Value, and values without each group of clips, averaged over seeds."""
    values = np.array([score.value for score in scores], dtype=np.float64)
    groups = {len(score.left_out) for score in scores}
    left = (
        np.array([score.left_out for score in scores], dtype=np.float64) if len(groups) == 1 else np.zeros((1, 0))
    )
    return float(values.mean()), np.asarray(left.mean(axis=0))


def score_sets(
    conditions: Mapping[str, Sequence[Scored]], specs: Sequence[MetricSpec], *, on_progress: Progress | None = None
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
        except FAULTS as error:  # a plugin's statistic must not take the evaluation down
            return Score(None, f"the statistic failed: {in_short(error)}")
        if score.value is not None and not np.isfinite(score.value):
            return Score(None, score.reason or f"the statistic gave {score.value}")
        return score

    whole = value(None)
    if whole.value is None:
        return SetScore(None, 0), whole.reason
    groups = range(1 + max(group_of.values(), default=0))
    left = [value(group).value for group in groups] if len(kept) > 1 else []
    numbers = tuple(float("nan") if number is None else float(number) for number in left)
    return SetScore(float(whole.value), len(kept), numbers, spec.share), whole.reason


class _RowMaker:
    """Rows of a sound, or None with the reason noted once."""

    def __init__(self, build: Callable[[], Callable[[Scored], Any]], rate_hz: int | None, notes: list[str]) -> None:
        self.rate_hz, self.notes = rate_hz, notes
        self.function: Callable[[Scored], Any] | None = None
        try:
            self.function = build()
        except FAULTS as error:  # a plugin's metric must not take the evaluation down
            notes.append(f"the metric could not be loaded: {in_short(error)}")

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
        except FAULTS as error:
            self.notes.append(f"{where}: left out, {in_short(error)}")
            return None
        return rows

    def own_sound(self, scored: Scored) -> Rows | None:
        """Rows of what the clip itself sounds like; None where it has no sound."""
        try:
            samples = scored.clip.audio(scored.sample_rate_hz)
        except FAULTS as error:
            self.notes.append(f"own sound of {scored.clip.id}: left out, {in_short(error)}")
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
