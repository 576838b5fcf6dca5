"""Bootstrap intervals of a mean over clips, and of a mean difference between paired clips.

Percentile bootstrap (Efron and Tibshirani 1993, ch. 13): clips are drawn with replacement, the mean of each
draw is kept, and the 2.5 and 97.5 percentiles of those means bound the interval. The clip is the unit that is
drawn, so the interval speaks about other clips of the same kind, not about other trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

N_RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over `n` clips with its bootstrap interval; everything but `n` is None where n = 0."""

    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The form that is written to metrics.json."""
        return {"mean": self.mean, "ci_low": self.ci_low, "ci_high": self.ci_high, "n": self.n}


def mean_interval(values: Sequence[float], *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Interval:
    """Mean of values [n] with its 95 % interval.

    Deterministic under `seed`. One clip (or equal values) gives an interval of zero width: `n` tells how
    much that is worth.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n == 0:
        return Interval(None, None, None, 0)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, n, size=(n_resamples, n))].mean(axis=1)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(sample.mean()), float(low), float(high), n)


def paired_difference(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> Interval:
    """Mean of value minus baseline over the clips that have both, with its 95 % interval.

    Keys are clip ids. Drawing the differences keeps each clip with itself, so a clip that is hard for both
    sides widens nothing.
    """
    shared = [clip_id for clip_id in values if clip_id in baseline]
    differences = [values[clip_id] - baseline[clip_id] for clip_id in shared]
    return mean_interval(differences, seed=seed, n_resamples=n_resamples)
