"""A landmark's path made smooth, with its speed and acceleration, at any times and from frames at any rate.

Local quadratic regression: at time t the path is y(s) = a + b (s - t) + c (s - t)^2 / 2, fitted by least squares to
the samples weighted by visibility * exp(-(s - t)^2 / (2 sigma^2)); position a, velocity b, acceleration c. Frames
are weighted by the time that they stand for, so 15 and 30 a second, or a variable rate, give one result
(Fan and Gijbels 1996, section 3; Savitzky-Golay is the case of equal spacing and equal weights).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIGMA_S = 0.06
"""Standard deviation of the window: three frames at 15 a second lie within two of them."""
RIDGE = 1e-3
"""Pulls velocity and acceleration to 0 where too few samples tell: in units of the window."""
MAX_GAP_S = 0.25
"""Where nothing is seen for longer there is no path."""


def smooth_path(
    times_s: Floats, values: Floats, weights: Floats, at_s: Floats, *, sigma_s: float = SIGMA_S
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Position, velocity and acceleration [m, d] of samples [n, d] at `at_s` [m], and where they are known [m].

    `weights` [n] are 0 where a sample is not to be used. Units per second and per second squared.
    """
    shape = (len(at_s), values.shape[1])
    used = weights > 0
    if not used.any():
        return np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(len(at_s), bool)
    times_s, values = times_s[used], np.asarray(values[used], np.float64)
    weights = weights[used] * _stands_for(times_s)
    first = np.searchsorted(times_s, at_s - 5 * sigma_s)
    most = int((np.searchsorted(times_s, at_s + 5 * sigma_s, side="right") - first).max(initial=0))
    index = first[:, None] + np.arange(max(most, 1))
    inside = index < len(times_s)
    index = np.minimum(index, len(times_s) - 1)
    since = (times_s[index] - at_s[:, None]) / sigma_s
    w = np.where(inside, weights[index] * np.exp(-0.5 * since**2), 0.0)
    basis = np.stack([np.ones_like(since), since, 0.5 * since**2], axis=-1)  # [m, k, 3]
    normal = np.einsum("mki,mk,mkj->mij", basis, w, basis)
    scale = np.maximum(normal[:, :1, :1], 1e-30)
    normal = normal / scale + np.diag([1e-12, RIDGE, RIDGE])
    centre = np.einsum("mk,mkd->md", w, values[index]) / scale[:, 0]
    right = np.einsum("mki,mk,mkd->mid", basis, w, values[index] - centre[:, None]) / scale
    fitted = np.linalg.solve(normal, right)  # [m, 3, d]
    known = _near(times_s, at_s)
    fitted[~known] = 0.0
    place = np.where(known[:, None], centre + fitted[:, 0], 0.0)
    return place, fitted[:, 1] / sigma_s, fitted[:, 2] / sigma_s**2, known


def _stands_for(times_s: Floats) -> Floats:
    """Seconds that each sample stands for [n]: half way to its neighbours, at most a quarter of a second."""
    if len(times_s) < 2:
        return np.ones(len(times_s))
    gaps = np.minimum(np.diff(times_s), MAX_GAP_S)
    return np.asarray((np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2)


def _near(times_s: Floats, at_s: Floats) -> NDArray[np.bool_]:
    """Times [m] between two samples at most MAX_GAP_S apart, or within half of that of one."""
    after = np.searchsorted(times_s, at_s)
    later = times_s[np.minimum(after, len(times_s) - 1)]
    earlier = times_s[np.maximum(after - 1, 0)]
    close = np.minimum(np.abs(later - at_s), np.abs(at_s - earlier)) <= MAX_GAP_S / 2
    between = (earlier <= at_s) & (at_s <= later) & (later - earlier <= MAX_GAP_S)
    return np.asarray(close | between)
