"""Intervals of a mean over clips, and of a mean difference between paired clips.

Means have the BCa bootstrap (Efron and Tibshirani 1993, ch. 14), which is the percentile bootstrap with its
percentiles moved for bias and skewness, and which few clips need: clips are drawn with replacement and the mean of
each draw is kept. Proportions, whose values are 0 and 1, have Wilson's interval (1927): all clips right is not a
width of 0. The clip is the unit that is drawn, so an interval speaks about other clips of the same kind, not about
other trainings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

N_RESAMPLES = 10_000
LEVEL = 0.95
ALPHA = 0.05
"""A difference counts where its p-value, corrected for all comparisons shown with it, is below this."""


@dataclass(frozen=True)
class Interval:
    """A mean over `n` clips with its interval; everything but `n` is None where n = 0."""

    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def mean_interval(values: Sequence[float], *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Interval:
    """Mean of values [n] with its 95 % interval: Wilson's where all are 0 or 1, else BCa's.

    Deterministic under `seed`. One clip (or equal values other than 0 and 1) gives an interval of zero width: `n`
    tells how much that is worth.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) == 0:
        return Interval(None, None, None, 0)
    if np.isin(sample, (0.0, 1.0)).all():
        return Interval(float(sample.mean()), *wilson(float(sample.mean()), len(sample)), len(sample))
    return Interval(float(sample.mean()), *_bca(_means(sample, seed, n_resamples), sample), len(sample))


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a proportion `share` of `n` (Wilson 1927)."""
    z2 = float(ndtri((1 + LEVEL) / 2)) ** 2 / n
    centre, half = share + z2 / 2, math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    # Rounding must not push the ends of none and all inside.
    low, high = (centre - half) / (1 + z2), (centre + half) / (1 + z2)
    return (0.0 if share == 0.0 else low), (1.0 if share == 1.0 else high)


def _means(sample: NDArray[np.float64], seed: int, n_resamples: int) -> NDArray[np.float64]:
    """Means of draws of as many as there are, with replacement, [resamples]."""
    n = len(sample)
    means: NDArray[np.float64] = sample[np.random.default_rng(seed).integers(0, n, size=(n_resamples, n))].mean(
        axis=1
    )
    return means


def _bca(means: NDArray[np.float64], sample: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of `sample` [n] from bootstrap means, bias-corrected and accelerated."""
    about = sample - sample.mean()
    spread = float((about**2).sum())
    # Ties count half on either side, so that coarse values are not taken for bias.
    below = float(((means < sample.mean()) + 0.5 * (means == sample.mean())).mean())
    if spread == 0.0 or not 0.0 < below < 1.0:
        return percentiles(means)
    bias, acceleration = float(ndtri(below)), float((about**3).sum()) / (6 * spread**1.5)
    moved = [bias + float(ndtri(tail)) for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    low, high = np.percentile(means, [100 * float(ndtr(bias + z / (1 - acceleration * z))) for z in moved])
    return float(low), float(high)


# Intervals and differences for rows of several seeds, and their correction for being many.
#
# Bootstrap over two levels that are crossed, as every seed meets the same clips (Owen 2007, pigeonhole bootstrap):
# seeds and clips are drawn with replacement, and the mean over what was drawn is kept. One seed has the interval
# over clips from above, and says nothing about other trainings. With two or three seeds the interval is still too
# narrow: so few seeds cannot show how far seeds differ. A proportion's is no narrower than Wilson's over its clips.

MOST_EXACT = 12
"""Clips up to which all signs are tried."""

SeedValues = Sequence[Mapping[str, float]]
"""Per seed: clip id -> value."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Estimate(Interval):
    """A mean over `n` clips and `n_seeds` seeds with its interval; None where nothing is defined."""

    n_seeds: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference over the `n` clips that both sides have; `p` two-sided, `p_holm` after correction."""

    p: float | None
    p_holm: float | None = None


def estimate(values: SeedValues, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Estimate:
    """Mean over seeds and clips with its 95 % interval; a clip without a value in a seed does not count there."""
    clips = list(dict.fromkeys(clip for one in values for clip in one))
    if not clips:
        return Estimate(None, None, None, 0, 0)
    table = _table(values, clips)
    if len(values) == 1:
        alone = mean_interval(list(values[0].values()), seed=seed, n_resamples=n_resamples)
        return Estimate(alone.mean, alone.ci_low, alone.ci_high, len(clips), 1)
    draws = _draws(table, _counts(len(clips), n_resamples, [seed, len(clips)]), seed + 1)
    mean = float(np.nanmean(table))
    ends: tuple[float | None, ...] = percentiles(draws)
    if np.isin(table[np.isfinite(table)], (0.0, 1.0)).all():  # seeds share their clips: no more than these count
        ends = (*ends, *wilson(mean, len(clips)))
    low, high = (pick((end for end in ends if end is not None), default=None) for pick in (min, max))
    return Estimate(mean, low, high, len(clips), int(np.isfinite(table).any(axis=1).sum()))


def difference(
    values: SeedValues, reference: SeedValues, *, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> Difference:
    """Mean of values minus reference over the clips that both have, paired by clip; seeds are drawn on each side.

    Drawing the differences keeps each clip with itself, so a clip that is hard for both sides widens nothing. `p`
    is the larger of two: the bootstrap's (twice the smaller share of draws on one side of 0), which knows of seeds,
    and that of flipping the signs of the clips' differences, which holds for few clips too.
    """
    theirs = {clip for one in reference for clip in one}
    clips = [clip for clip in dict.fromkeys(clip for one in values for clip in one) if clip in theirs]
    if not clips:
        return Difference(None, None, None, 0, None)
    left, right = _table(values, clips), _table(reference, clips)
    by_clip = np.nanmean(left, axis=0) - np.nanmean(right, axis=0)
    if len(values) == len(reference) == 1:
        draws = _means(by_clip, seed, n_resamples)
        low, high = _bca(draws, by_clip)
    else:
        counts = _counts(len(clips), n_resamples, [seed, len(clips)])
        draws = _draws(left, counts, seed + 1) - _draws(right, counts, seed + 2)
        low, high = percentiles(draws)
    found = draws[np.isfinite(draws)]
    beyond = min(int((found <= 0).sum()), int((found >= 0).sum()))
    p = min(1.0, 2 * (1 + beyond) / (1 + len(found)))
    p = max(p, sign_flip_p(by_clip, seed=seed, n_resamples=n_resamples))
    return Difference(float(np.nanmean(left) - np.nanmean(right)), low, high, len(clips), p)


def sign_flip_p(differences: NDArray[np.float64], *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> float:
    """Two-sided p-value of differences [n] by flipping their signs (Fisher's randomisation test): exact up to 12.

    With n differences it is never below 2 / 2^n, however large they are.
    """
    n = len(differences)
    if n <= MOST_EXACT:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
        extra = 0
    else:
        signs = np.random.default_rng([seed, n, 7]).choice((-1.0, 1.0), size=(n_resamples, n))
        extra = 1
    seen = abs(float(differences.mean()))
    reached = int((np.abs(signs @ differences) / n >= seen - 1e-12 * max(1.0, seen)).sum())
    return min(1.0, (reached + extra) / (len(signs) + extra))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """p-values adjusted for their number (Holm 1979): each below 0.05 holds with all of them taken together."""
    adjusted: dict[Key, float] = {}
    running = 0.0
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p_values) - rank) * p))
        adjusted[key] = running
    return adjusted


def corrected(found: Mapping[Key, Difference]) -> dict[Key, Difference]:
    """Differences with `p_holm`: their p-values adjusted for how many of them there are."""
    adjusted = holm({key: one.p for key, one in found.items() if one.p is not None})
    return {key: replace(one, p_holm=adjusted.get(key)) for key, one in found.items()}


def _table(values: SeedValues, clips: Sequence[str]) -> NDArray[np.float64]:
    """[seeds, clips]; NaN where a seed has no value for a clip."""
    return np.array([[one.get(clip, np.nan) for clip in clips] for one in values], dtype=np.float64)


def _counts(n: int, n_resamples: int, seeds: Sequence[int]) -> NDArray[np.float64]:
    """How often each of n is drawn, with replacement, in each draw of n: [resamples, n]."""
    drawn = np.random.default_rng(seeds).integers(0, n, size=(n_resamples, n))
    counts = np.zeros((n_resamples, n))
    np.add.at(counts, (np.arange(n_resamples)[:, None], drawn), 1.0)
    return counts


def _draws(table: NDArray[np.float64], clip_counts: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The mean of each draw, [resamples]; NaN where a draw holds no value."""
    seed_counts = _counts(len(table), len(clip_counts), [seed, len(table), 1])
    known = np.isfinite(table)
    filled = np.where(known, table, 0.0)
    sums = ((seed_counts @ filled) * clip_counts).sum(axis=1)
    weights = ((seed_counts @ known.astype(np.float64)) * clip_counts).sum(axis=1)
    return np.where(weights > 0, sums / np.maximum(weights, 1e-12), np.nan)


def percentiles(draws: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The ends of the 95 % interval that draws [n] span; NaN draws do not count, and without any both are None."""
    found = draws[np.isfinite(draws)]
    if not len(found):
        return None, None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)


def jackknife(left_out: Sequence[float], seeds: Sequence[float] = ()) -> tuple[float, float, int] | None:
    """(Half the interval, standard error, degrees of freedom) of a statistic by its values without each group [G].

    Delete-a-group jackknife with Student's t; where `seeds` holds the statistic of several seeds, the variance of
    their mean is added. None without a spread over groups (fewer than two that are finite).
    """
    left = np.asarray(left_out, dtype=np.float64)
    known = left[np.isfinite(left)]
    if len(known) < 2:
        return None
    variance = (len(known) - 1) / len(known) * float(((known - known.mean()) ** 2).sum())
    if len(seeds) > 1:
        variance += float(np.var(seeds, ddof=1)) / len(seeds)
    error, freedom = float(np.sqrt(variance)), len(known) - 1
    return float(stdtrit(freedom, (1 + LEVEL) / 2)) * error, error, freedom
