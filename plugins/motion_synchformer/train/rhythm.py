"""What the sound of a clip says about its rhythm and loudness: the targets that the picture learns to match.

Everything here is computed from the waveform alone, never from the world's plan, so the training is self-supervised
audio-visual correspondence: it would run on any film of a conductor with its sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOP_HZ = 50.0
BANDS = 32
LAGS_S = np.arange(-20, 21) / HOP_HZ
"""Times relative to a row at which the onset envelope is predicted: -0.4 .. 0.4 s."""
TEMPO_GRID_BPM = np.arange(58.0, 184.0, 0.25)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sound:
    """A clip's sound at 50 Hz: `log_mel` [n, 32], `onsets` [n] with unit variance, `level` [n] (log RMS,
    scaled to about -1..1), `tempo_hz` and `phase_at_0` (cycles) of the pulse that fits the onsets best.
    """

    log_mel: Floats
    onsets: Floats
    level: Floats
    tempo_hz: float
    phase_at_0: float

    def phase(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Beat phase in cycles at these times; whole numbers are beats."""
        return self.phase_at_0 + self.tempo_hz * times_s


def mel_filters(sample_rate_hz: int, n_fft: int) -> Floats:
    """Triangular mel filters [n_fft / 2 + 1, 32] from 30 Hz to 8 kHz."""
    mel = np.linspace(*(1127.0 * np.log1p(np.array([30.0, 8000.0]) / 700.0)), BANDS + 2)
    edges = 700.0 * np.expm1(mel / 1127.0)
    bins = np.arange(n_fft // 2 + 1) * sample_rate_hz / n_fft
    up = (bins[:, None] - edges[:-2]) / np.maximum(edges[1:-1] - edges[:-2], 1e-6)
    down = (edges[2:] - bins[:, None]) / np.maximum(edges[2:] - edges[1:-1], 1e-6)
    filters = np.clip(np.minimum(up, down), 0.0, None)
    return (filters / np.maximum(filters.sum(0), 1e-9)).astype(np.float32)


def listen(samples: Floats, sample_rate_hz: int) -> Sound:
    """Analyse mono samples [m]. Frames are centred on n / 50 s."""
    hop, n_fft = round(sample_rate_hz / HOP_HZ), 2 ** round(np.log2(0.064 * sample_rate_hz))
    padded = np.pad(samples, n_fft // 2)
    n = len(samples) // hop + 1
    index = np.arange(n)[:, None] * hop + np.arange(n_fft)
    frames = padded[np.minimum(index, len(padded) - 1)]
    power = np.abs(np.fft.rfft(frames * np.hanning(n_fft).astype(np.float32), axis=1)) ** 2
    log_mel = np.log(power.astype(np.float32) @ mel_filters(sample_rate_hz, n_fft) + 1e-4)
    short = frames[:, n_fft // 2 - hop : n_fft // 2 + hop]
    level = np.log(np.sqrt((short**2).mean(1)) + 1e-3)
    level = np.convolve(np.pad(level, 12, mode="edge"), np.hanning(27)[1:-1] / np.hanning(27).sum(), "valid")
    rise = np.clip(np.diff(log_mel, axis=0, prepend=log_mel[:1]), 0.0, None).mean(1)
    onsets = rise - np.convolve(np.pad(rise, 25, mode="edge"), np.ones(51) / 51, "valid")
    onsets = (onsets / (onsets.std() + 1e-6)).astype(np.float32)
    tempo_hz, phase_at_0 = fit_pulse(onsets)
    return Sound(
        log_mel=(log_mel / 5.0).astype(np.float32),
        onsets=onsets,
        level=((level + 4.0) / 2.0).astype(np.float32),
        tempo_hz=tempo_hz,
        phase_at_0=phase_at_0,
    )


def fit_pulse(onsets: Floats) -> tuple[float, float]:
    """Tempo (Hz) and phase at 0 s (cycles) of the onsets' strongest pulse.

    The slowest tempo of the grid whose Fourier coefficient reaches 0.6 of the largest: an even pulse has harmonics
    above its tempo but nothing at half of it.
    """
    times_s = np.arange(len(onsets)) / HOP_HZ
    hz = TEMPO_GRID_BPM / 60.0
    coefficients = np.exp(-2j * np.pi * hz[:, None] * times_s) @ onsets
    size = np.abs(coefficients)
    peaks = np.flatnonzero((size >= 0.6 * size.max()) & (size >= np.maximum(np.roll(size, 1), np.roll(size, -1))))
    best = int(peaks[0]) if len(peaks) else int(size.argmax())
    return float(hz[best]), float(np.angle(coefficients[best]) / (2 * np.pi))


def onset_windows(sound: Sound, times_s: NDArray[np.float64]) -> Floats:
    """The onset envelope around each time: float32 [m, 41]."""
    grid_s = np.arange(len(sound.onsets)) / HOP_HZ
    at_s = times_s[:, None] + LAGS_S
    return np.interp(at_s, grid_s, sound.onsets, left=0.0, right=0.0).astype(np.float32)
