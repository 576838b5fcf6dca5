"""Fréchet distance between two sets of embeddings, and its value extrapolated to an endless set.

Fréchet audio distance (Kilgour et al. 2019, after Heusel et al. 2017): both sets are taken as Gaussians,

    d = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2),   C with n - 1 in the denominator.

With centred rows A [n, D] and B [m, D], C1 = A'A / (n - 1) and C2 = B'B / (m - 1), so tr (C1 C2)^(1/2) is the sum
of the singular values of A B' / sqrt((n - 1)(m - 1)). That is exact also where a covariance is singular, needs no
matrix square root, no complex numbers and no small number on the diagonal.

The distance of a finite set is too large by about c / n. FAD-infinity (Gui et al. 2024, after Chong and Forsyth
2020) draws subsets of the evaluated set, fits d(n) = d_inf + c / n and reports d_inf; the reference stays whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Rows, Score

MIN_ROWS = 2
MIN_SOUNDS_INFINITY = 8
_N_SIZES = 15
_N_DRAWS = 2
_SMALLEST = 0.25  # of the set: the smallest subset that is drawn


def frechet_distance(rows: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Fréchet distance of rows [n, D] and reference rows [m, D], n and m at least 2; never below 0."""
    return _distance(_Gaussian.of(rows), _Gaussian.of(reference))


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
    target = _Gaussian.of(known)
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
                distances.append(_distance(_Gaussian.of(rows), target))
    slope, intercept = np.polyfit(inverse, distances, 1)
    fitted = slope * np.asarray(inverse) + intercept
    spread = float(np.sum((np.asarray(distances) - np.mean(distances)) ** 2))
    explained = 1 - float(np.sum((np.asarray(distances) - fitted) ** 2)) / spread if spread > 0 else 1.0
    note = None
    if explained < 0.5:
        note = f"the distance does not fall as 1/n here (R2 {explained:.2f}): too few sounds to extrapolate"
    return Score(float(intercept), note)


class _Gaussian:
    """Mean [D] and a root [k, D] of the covariance: root' root = C, with as few rows k as can be."""

    def __init__(self, mean: NDArray[np.float64], root: NDArray[np.float64]) -> None:
        self.mean, self.root = mean, root

    @classmethod
    def of(cls, rows: NDArray[np.floating]) -> _Gaussian:
        exact = np.asarray(rows, dtype=np.float64)
        mean = exact.mean(axis=0)
        root = (exact - mean) / np.sqrt(len(exact) - 1)
        if root.shape[0] > root.shape[1]:
            root = np.linalg.qr(root, mode="r")
        return cls(mean, root)


def _distance(first: _Gaussian, second: _Gaussian) -> float:
    shared = np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum()
    apart = np.sum((first.mean - second.mean) ** 2)
    spread = np.sum(first.root**2) + np.sum(second.root**2)
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
