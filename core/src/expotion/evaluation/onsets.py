"""Onset strength: how much new sound begins at each moment.

Mel spectrum (64 bands up to 10 kHz, 32 ms windows every 10 ms) relative to the loudest band of the sound,
compressed by log(1 + 1000 x), its rises averaged over the bands (spectral flux). The compression lets quiet
passages count without making every trace of sound count as much as a beat.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SOUND_RATE_HZ = 32_000
FRAME_RATE_HZ = 100.0

_HOP = 320
_WINDOW = 1024
_N_BANDS = 64
_BANDS_HZ = (30.0, 10_000.0)
_COMPRESSION = 1000.0
_CHUNK = 4096  # frames at once, so that long sounds need little memory


def onset_strength(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Onset strength of a mono sound float32 [n] at 32 kHz: float64 [1 + n // 320], frame k at k / 100 s."""
    padded = np.pad(samples, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW + 1)[:-1]
    bands = _mel_bands().T
    power = np.concatenate(
        [
            np.abs(np.fft.rfft(frames[start : start + _CHUNK] * window)) ** 2 @ bands
            for start in range(0, len(frames), _CHUNK)
        ]
    )  # [frames, bands]
    loud = np.log1p(_COMPRESSION * power / max(float(power.max()), 1e-20))
    rise = np.maximum(np.diff(loud, axis=0, prepend=loud[:1]), 0.0)
    return np.asarray(rise.mean(axis=1), dtype=np.float64)


@cache
def _mel_bands() -> NDArray[np.float64]:
    """Triangular mel bands that sum to 1: float64 [bands, bins]. Bands between two bins are left out."""
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in _BANDS_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, _N_BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(_WINDOW // 2 + 1) * SOUND_RATE_HZ / _WINDOW
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(np.minimum(rising, falling), 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    kept = sums[:, 0] > 0
    return np.asarray(weights[kept] / sums[kept], dtype=np.float64)
