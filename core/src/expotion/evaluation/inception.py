"""Inception score: are the sounds each clearly of a class, and of many classes as a set?

    IS = exp(mean over rows of KL(p(y | row) || p(y))),   p(y) the mean over rows

(Salimans et al. 2016; on audio classifiers since). 1 is the least, the number of classes the most. The set is not
split into tenths as for images: with few sounds that only lowers the value. It looks at no reference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Rows, Score

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
        note = (
            f"{len(rows)} windows: the score grows with the number of sounds; compare only sets of one size"
        )
    return Score(float(np.exp(divergence(rows, rows.mean(axis=0)).mean())), note)


def divergence(rows: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(rows || other) in nats, [n] of rows [n, C]; 0 log 0 is 0."""
    logs = np.log(np.where(rows > 0, rows, 1.0)) - np.log(np.where(other > 0, other, 1e-300))
    return np.asarray((rows * logs).sum(axis=-1), dtype=np.float64)
