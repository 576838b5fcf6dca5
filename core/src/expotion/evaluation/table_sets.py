"""Metrics over a set in a table: several seeds as one number, by jackknife over clips and the spread of seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expotion.evaluation.sets import SetScore
from expotion.evaluation.table_statistics import LEVEL, Difference, Estimate


def set_estimate(scores: Sequence[SetScore]) -> Estimate:
    """Mean over seeds of a statistic over the set."""
    defined = [score for score in scores if score.value is not None]
    if not defined:
        return Estimate(None, None, None, 0, 0)
    value, left = _mean(defined)
    reach = _reach(left, [float(score.value or 0.0) for score in defined])
    low, high = (None, None) if reach is None else (value - reach[0], value + reach[0])
    return Estimate(value, low, high, min(score.n for score in defined), len(defined))


def set_difference(ours: Sequence[SetScore], theirs: Sequence[SetScore]) -> Difference:
    """Ours minus theirs; the same clips are left out of both in the jackknife. `p` by Student's t."""
    left, right = ([s for s in side if s.value is not None] for side in (ours, theirs))
    if not left or not right:
        return Difference(None, None, None, 0, None)
    (a, a_left), (b, b_left) = _mean(left), _mean(right)
    n = min(score.n for score in (*left, *right))
    spread = [float(s.value or 0.0) - b for s in left] if len(right) == 1 else []
    reach = _reach(a_left - b_left if len(a_left) == len(b_left) else np.zeros(0), spread)
    if reach is None:
        return Difference(a - b, None, None, n, None)
    from scipy.stats import t  # noqa: PLC0415

    half, error, freedom = reach
    p = (
        1.0
        if error == 0.0 and a == b
        else 0.0
        if error == 0.0
        else float(2 * t.sf(abs(a - b) / error, freedom))
    )
    return Difference(a - b, a - b - half, a - b + half, n, min(1.0, p))


def _mean(scores: Sequence[SetScore]) -> tuple[float, NDArray[np.float64]]:
    """Value, and values without each group of clips, averaged over seeds."""
    values = np.array([score.value for score in scores], dtype=np.float64)
    groups = {len(score.left_out) for score in scores}
    left = (
        np.array([score.left_out for score in scores], dtype=np.float64)
        if len(groups) == 1
        else np.zeros((1, 0))
    )
    return float(values.mean()), np.asarray(left.mean(axis=0))


def _reach(left_out: NDArray[np.float64], seeds: Sequence[float]) -> tuple[float, float, int] | None:
    """(half the interval, standard error, degrees of freedom), None without a spread over clips."""
    known = left_out[np.isfinite(left_out)]
    groups = len(known)
    if groups < 2:
        return None
    variance = (groups - 1) / groups * float(((known - known.mean()) ** 2).sum())
    if len(seeds) > 1:
        variance += float(np.var(seeds, ddof=1)) / len(seeds)
    from scipy.stats import t  # noqa: PLC0415

    freedom = groups - 1
    error = float(np.sqrt(variance))
    return float(t.ppf((1 + LEVEL) / 2, freedom)) * error, error, freedom
