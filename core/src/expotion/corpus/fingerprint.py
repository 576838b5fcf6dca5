"""Fingerprints of sounds: landmarks find where two could be the same, a coarse spectrogram tells if they are.

Landmarks are pairs of spectral peaks (Wang 2003, 'An industrial-strength audio search algorithm', ISMIR): a pair is
a hash of its two frequencies and their distance in time, and equal hashes at one offset in time point to the same
sound. Repeated bars share landmarks too, so what they point to is compared by level in frequency bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
FRAME_S = 128 / RATE_HZ
N_BANDS = 40
_N_FFT = 1024
_HOP = 128
_FANOUT = 5
_PEAKS_PER_S = 25
_MAX_DELTA = 192  # frames between the two peaks, about three seconds
_BAND_HZ = (120.0, 3100.0)
_FLOOR_DB = 60.0
_DEPTH_DB = 40.0  # below a frame's loudest band nothing counts, so that faint noise does not
_STEPS_PER_DB = 2.0


@dataclass(frozen=True)
class Print:
    """`hashes` int64 [n], sorted, and `frames` int32 [n], where each begins (16 ms per frame).

    `bands` int8 [m, 40]: level of log-spaced bands in each frame against the frame's mean, in half decibels.
    """

    hashes: NDArray[np.int64]
    frames: NDArray[np.int32]
    bands: NDArray[np.int8]


EMPTY = Print(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros((0, N_BANDS), np.int8))


def fingerprint(samples: NDArray[np.float32]) -> Print:
    """Fingerprint of a mono sound float32 [n] at `RATE_HZ`. Silence and less than 0.2 s have an empty one."""
    if len(samples) < _N_FFT + 4 * _HOP or float(np.abs(samples).max()) < 1e-5:
        return EMPTY
    magnitude = _magnitudes(samples)
    hashes, frames = _landmarks(magnitude)
    return _sorted(hashes, frames, _bands(magnitude))


def joined(parts: Sequence[tuple[float, Print]]) -> Print:
    """One fingerprint of (start in seconds, fingerprint) of the parts of a sound, in order."""
    if not parts:
        return EMPTY
    frames, bands, n_bands = [], [], 0
    for start_s, part in parts:
        begin = max(round(start_s / FRAME_S), n_bands)
        frames.append(part.frames + np.int32(begin))
        bands += [np.zeros((begin - n_bands, N_BANDS), np.int8), part.bands]
        n_bands = begin + len(part.bands)
    hashes = np.concatenate([part.hashes for _, part in parts])
    return _sorted(hashes, np.concatenate(frames), np.concatenate(bands))


def _sorted(
    hashes: NDArray[np.int64], frames: NDArray[np.int64] | NDArray[np.int32], bands: NDArray[np.int8]
) -> Print:
    order = np.argsort(hashes, kind="stable")
    return Print(hashes[order], frames[order].astype(np.int32), bands)


def _magnitudes(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spectrogram float32 [m, 513]."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _N_FFT)[::_HOP]
    shape = np.hanning(_N_FFT).astype(np.float32)
    parts = [
        np.abs(np.fft.rfft(windows[at : at + 4096] * shape, axis=1)) for at in range(0, len(windows), 4096)
    ]
    return np.concatenate(parts).astype(np.float32)


def _landmarks(magnitude: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(hashes, frames) of pairs of peaks between 31 and 3117 Hz."""
    from scipy.ndimage import maximum_filter  # noqa: PLC0415

    level = np.log(np.maximum(magnitude, magnitude.max() * 1e-4))[:, 4:400]
    top = (level == maximum_filter(level, size=(13, 15))) & (level > level.min() + 1.0)
    frames, bins = np.nonzero(top)
    keep: list[NDArray[np.int64]] = []
    second = frames * _HOP // RATE_HZ
    strength = level[frames, bins]
    for s in np.unique(second):  # the loudest peaks of each second
        here = np.flatnonzero(second == s)
        keep.append(here[np.argsort(-strength[here], kind="stable")[:_PEAKS_PER_S]])
    if not keep:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    chosen = np.sort(np.concatenate(keep))
    frames, bins = frames[chosen].astype(np.int64), bins[chosen].astype(np.int64)
    hashes, starts = [], []
    for step in range(1, _FANOUT * 2 + 1):
        delta = frames[step:] - frames[:-step]
        good = (delta > 1) & (delta <= _MAX_DELTA)
        pair = (bins[:-step] << 24) | (bins[step:] << 12) | delta
        hashes.append(pair[good])
        starts.append(frames[:-step][good])
    return np.concatenate(hashes), np.concatenate(starts)


def _bands(magnitude: NDArray[np.float32]) -> NDArray[np.int8]:
    """Levels int8 [m, 40] of the bands against the frame's mean, half decibels."""
    edges = np.round(np.geomspace(*_BAND_HZ, N_BANDS + 1) * _N_FFT / RATE_HZ).astype(int)  # all different
    power = np.add.reduceat(magnitude[:, : edges[-1]] ** 2, edges[:-1], axis=1) / np.diff(edges)
    level_db = 10 * np.log10(np.maximum(power, power.max() * 10 ** (-_FLOOR_DB / 10)))
    level_db = np.maximum(level_db, level_db.max(axis=1, keepdims=True) - _DEPTH_DB)
    level_db -= level_db.mean(axis=1, keepdims=True)
    bands: NDArray[np.int8] = np.clip(np.round(level_db * _STEPS_PER_DB), -127, 127).astype(np.int8)
    return bands
