"""Strengths from paired comparisons: the model of Bradley and Terry (1952), fitted as in Hunter (2004).

P(i preferred over j) = p_i / (p_i + p_j). "No preference" counts as half a win for each. Every system also meets an
imagined opponent of strength 1 in PRIOR wins and PRIOR losses: that keeps strengths finite where one system has won
or lost every time, and pulls them together a little where there are few answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PRIOR = 0.5
N_STEPS = 500
TOLERANCE = 1e-9


def fit(wins: NDArray[np.float64], prior: float = PRIOR) -> NDArray[np.float64]:
    """Strengths [..., S] with geometric mean 1 from wins [..., S, S] (row over column), by MM iterations."""
    met = wins + np.swapaxes(wins, -1, -2)
    won = wins.sum(axis=-1) + prior
    strengths = np.ones(wins.shape[:-1])
    for _ in range(N_STEPS):
        pairs = met / (strengths[..., :, None] + strengths[..., None, :])
        new = won / (pairs.sum(axis=-1) + 2.0 * prior / (strengths + 1.0))
        change = float(np.abs(np.log(new) - np.log(strengths)).max(initial=0.0))
        strengths = new
        if change < TOLERANCE:
            break
    return np.asarray(strengths / np.exp(np.log(strengths).mean(axis=-1, keepdims=True)))


def preferred_share(strengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance of being preferred over another system drawn at random, [..., S] in 0..1."""
    chance = strengths[..., :, None] / (strengths[..., :, None] + strengths[..., None, :])
    n = strengths.shape[-1]
    return np.asarray((chance.sum(axis=-1) - 0.5) / (n - 1))
