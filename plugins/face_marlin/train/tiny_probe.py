"""How much of the intensity a linear map reads from the features: ridge on some clips, scored on others."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """Scores on held-out clips: R2 and Pearson r over all windows, r within a clip (mean over clips).

    `r_within_12` is r within a clip when only the 12 leading principal components of the features are used:
    what a rank-12 projection finds first.
    """

    r2: float
    r: float
    r_within: float
    r_within_12: float

    def rounded(self) -> dict[str, float]:
        """Plain numbers for a file."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


def probe(features: NDArray[np.float32], target: Floats, clip: NDArray[np.int64]) -> Probe:
    """Ridge from features [n, D] to target [n]: even clips train, odd clips test."""
    train, test = clip % 2 == 0, clip % 2 == 1
    x = features.astype(np.float64)
    x = (x - x[train].mean(axis=0)) / (x[train].std(axis=0) + 1e-6)
    predicted = _ridge(x, target, train)
    _, _, axes = np.linalg.svd(x[train], full_matrices=False)
    predicted_12 = _ridge(x @ axes[:12].T, target, train)
    error = np.mean((predicted[test] - target[test]) ** 2)
    return Probe(
        float(1 - error / np.var(target[test])),
        _pearson(predicted[test], target[test]),
        _within(predicted, target, clip, test),
        _within(predicted_12, target, clip, test),
    )


def _ridge(x: Floats, target: Floats, train: NDArray[np.bool_]) -> Floats:
    mean = target[train].mean()
    strength = 0.003 * train.sum()
    normal = x[train].T @ x[train] + strength * np.eye(x.shape[1])
    return np.asarray(x @ np.linalg.solve(normal, x[train].T @ (target[train] - mean)) + mean)


def _pearson(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def _within(predicted: Floats, target: Floats, clip: NDArray[np.int64], rows: NDArray[np.bool_]) -> float:
    return float(np.mean([_pearson(predicted[clip == c], target[clip == c]) for c in np.unique(clip[rows])]))
