"""Spectra of a sound: what the judge of captions and the small captioner hear.

`log_mel`: 64 triangular mel bands from 40 Hz to 7,600 Hz at 16 kHz, 64 ms windows every 32 ms, natural
logarithm of the power plus 1e-6: rhythm, colour, level. `log_tones`: 60 triangular bands a semitone wide, C2 to
B6, 512 ms windows every 96 ms, the same logarithm: which tones sound. Front-ends and not a codec: another codec
changes nothing here.
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
TONE_WINDOW, TONE_HOP = 8192, 1536
LOWEST_TONE, N_TONES = 36, 60
"""MIDI number of the lowest band (C2), and bands: five octaves."""


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [frames, 64] of mono samples float32 [n] at 16 kHz; no frames of a sound below 64 ms."""
    return _log_bands(samples, WINDOW, HOP, _mel_bands())


def log_tones(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [frames, 60] of mono samples float32 [n] at 16 kHz; no frames of a sound below 512 ms."""
    return _log_bands(samples, TONE_WINDOW, TONE_HOP, _tone_bands())


def _log_bands(
    samples: NDArray[np.float32], window: int, hop: int, bands: NDArray[np.float32]
) -> NDArray[np.float32]:
    if len(samples) < window:
        return np.zeros((0, len(bands)), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), window)[::hop]
    spectrum = np.fft.rfft(frames * np.hanning(window).astype(np.float32))
    power = np.square(np.abs(spectrum)).astype(np.float32)
    return np.asarray(np.log(power @ bands.T + np.float32(FLOOR)), np.float32)


@cache
def _mel_bands() -> NDArray[np.float32]:
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in BANDS_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, N_BANDS + 2) / 2595.0) - 1.0)
    return _triangles(edges, WINDOW)


@cache
def _tone_bands() -> NDArray[np.float32]:
    numbers = LOWEST_TONE - 1 + np.arange(N_TONES + 2)
    return _triangles(440.0 * 2.0 ** ((numbers - 69) / 12), TONE_WINDOW)


def _triangles(edges_hz: NDArray[np.float64], window: int) -> NDArray[np.float32]:
    """Bands [len(edges) - 2, bins] that rise from an edge to the next and fall to the one after; each sums to 1."""
    bins_hz = np.arange(window // 2 + 1) * SOUND_RATE_HZ / window
    rising = (bins_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    falling = (edges_hz[2:, None] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    weights = np.maximum(np.minimum(rising, falling), 0.0)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9), np.float32)
