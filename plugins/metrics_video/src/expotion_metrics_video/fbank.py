"""Kaldi's log mel filter bank, as LanguageBind and its relatives call it.

Frames of 25 ms every 10 ms, whole ones only; each without its mean, pre-emphasised by 0.97 (the first sample by
itself), under a symmetric Hann window, in an FFT of the next power of two; power; triangles straight in mel from
20 Hz to half the rate; log, not below float32's epsilon.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LOWEST_HZ = 20.0
PRE_EMPHASIS = 0.97
_FLOOR = float(np.finfo(np.float32).eps)


def fbank(samples: NDArray[np.float32], rate_hz: int, n_bands: int) -> NDArray[np.float32]:
    """Log mel float32 [frames, bands] of a sound float32 [n]; no frames where it is shorter than 25 ms."""
    size, hop = round(0.025 * rate_hz), round(0.010 * rate_hz)
    if len(samples) < size:
        return np.zeros((0, n_bands), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float64), size)[::hop]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    shaped = (frames - PRE_EMPHASIS * before) * np.hanning(size)
    n_fft = 1 << (size - 1).bit_length()
    power = np.abs(np.fft.rfft(shaped, n_fft)) ** 2
    mel = power[:, : n_fft // 2] @ _bands(rate_hz, n_fft, n_bands)
    return np.asarray(np.log(np.maximum(mel, _FLOOR)), dtype=np.float32)


@cache
def _bands(rate_hz: int, n_fft: int, n_bands: int) -> NDArray[np.float64]:
    """Triangles [n_fft / 2, bands]; the last bin counts nowhere."""
    bins_mel = 1127.0 * np.log1p(np.arange(n_fft // 2) * rate_hz / n_fft / 700.0)[:, None]
    low, high = (1127.0 * np.log1p(hz / 700.0) for hz in (LOWEST_HZ, rate_hz / 2))
    edges = np.linspace(low, high, n_bands + 2)
    rising = (bins_mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_mel) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))
