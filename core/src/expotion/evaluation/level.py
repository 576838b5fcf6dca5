"""Loudness over time, and a curve brought to the same clock: 10 values per second, smoothed over 0.5 s."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 10.0
WINDOW_S = 0.5
FLOOR_DB = -80.0


def curve_times_s(duration_s: float) -> NDArray[np.float64]:
    """Times of the common clock, float64 [k]: 0, 0.1, .. up to the duration."""
    return np.arange(int(np.floor(duration_s * RATE_HZ + 1e-6)) + 1, dtype=np.float64) / RATE_HZ


def level_db(
    samples: NDArray[np.float32], sample_rate_hz: int, at_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """RMS level in dB full scale at times [k], each over the 0.5 s around it, float64 [k].

    The smoothing is of power, before the logarithm, so that the pauses between notes do not outweigh the
    notes. Windows are cut at the ends of the sound. Nothing falls below -80 dB.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(samples, dtype=np.float64) ** 2)])
    half = WINDOW_S / 2
    start = np.clip(np.round((at_s - half) * sample_rate_hz).astype(np.int64), 0, len(samples))
    stop = np.clip(np.round((at_s + half) * sample_rate_hz).astype(np.int64), 0, len(samples))
    power = (energy[stop] - energy[start]) / np.maximum(stop - start, 1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), dtype=np.float64)


def smoothed(
    times_s: NDArray[np.float64], values: NDArray[np.float64], at_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of a curve over the 0.5 s around each time [k], float64 [k].

    The curve is read by linear interpolation; windows are cut at its first and last time.
    """
    offsets = np.linspace(-WINDOW_S / 2, WINDOW_S / 2, 51)
    window = at_s[:, None] + offsets[None, :]  # [k, 51]
    inside = (window >= times_s[0] - 1e-9) & (window <= times_s[-1] + 1e-9)
    read = np.interp(window, times_s, values)
    counted = np.maximum(inside.sum(axis=1), 1)
    edge = np.interp(at_s, times_s, values)
    means = (read * inside).sum(axis=1) / counted
    return np.asarray(np.where(inside.any(axis=1), means, edge), dtype=np.float64)
