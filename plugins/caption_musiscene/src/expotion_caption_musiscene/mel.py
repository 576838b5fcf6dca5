"""Log-mel spectrum of a sound: what the judge of captions and the small captioner hear.

64 triangular mel bands from 40 Hz to 7,600 Hz at 16 kHz, 64 ms windows every 32 ms, natural logarithm of the power
plus 1e-6. A front-end and not a codec: another codec changes nothing here.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SOUND_RATE_HZ = 16_000
WINDOW, HOP = 1024, 512
FRAME_RATE_HZ = SOUND_RATE_HZ / HOP
N_BANDS = 64
BANDS_HZ = (40.0, 7_600.0)
FLOOR = 1e-6


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [frames, 64] of mono samples float32 [n] at 16 kHz; no frames of a sound below 64 ms."""
    if len(samples) < WINDOW:
        return np.zeros((0, N_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), WINDOW)[::HOP]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW).astype(np.float32))
    power = np.square(np.abs(spectrum)).astype(np.float32)
    return np.asarray(np.log(power @ _bands().T + np.float32(FLOOR)), np.float32)


@cache
def _bands() -> NDArray[np.float32]:
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in BANDS_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, N_BANDS + 2) / 2595.0) - 1.0)
    bins_hz = np.arange(WINDOW // 2 + 1) * SOUND_RATE_HZ / WINDOW
    rising = (bins_hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins_hz) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(np.minimum(rising, falling), 0.0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9), np.float32)
