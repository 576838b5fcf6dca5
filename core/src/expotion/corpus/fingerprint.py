"""Landmark fingerprints: pairs of spectral peaks, robust to gain, lossy coding and where a sound begins.

After Wang 2003, 'An industrial-strength audio search algorithm' (ISMIR). Peaks of the log spectrogram are paired
with the next ones in time; a pair is a hash of its two frequencies and their distance, and stands at its first
peak's frame. Two sounds are the same where many equal hashes have the same offset in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 8000
_N_FFT = 1024
_HOP = 128
_FANOUT = 5
_PEAKS_PER_S = 25
_MAX_DELTA = 192  # frames between the two peaks, about three seconds
MIN_VOTES = 55
MIN_SHARE = 0.05


@dataclass(frozen=True)
class Print:
    """`hashes` int64 [n], sorted, and `frames` int32 [n], where each begins (16 ms per frame)."""

    hashes: NDArray[np.int64]
    frames: NDArray[np.int32]


def fingerprint(samples: NDArray[np.float32]) -> Print:
    """Fingerprint of a mono sound float32 [n] at `RATE_HZ`. Silence has an empty one."""
    from scipy.ndimage import maximum_filter  # noqa: PLC0415

    empty = Print(np.zeros(0, np.int64), np.zeros(0, np.int32))
    if len(samples) < _N_FFT or float(np.abs(samples).max()) < 1e-5:
        return empty
    windows = np.lib.stride_tricks.sliding_window_view(samples, _N_FFT)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_N_FFT).astype(np.float32), axis=1)).astype(np.float32)
    level = np.log(np.maximum(power, power.max() * 1e-4))[:, 4:400]
    top = (level == maximum_filter(level, size=(13, 15))) & (level > level.min() + 1.0)
    frames, bins = np.nonzero(top)
    keep: list[NDArray[np.int64]] = []
    second = frames * _HOP // RATE_HZ
    strength = level[frames, bins]
    for s in np.unique(second):  # the loudest peaks of each second
        here = np.flatnonzero(second == s)
        keep.append(here[np.argsort(-strength[here], kind="stable")[:_PEAKS_PER_S]])
    if not keep:
        return empty
    chosen = np.sort(np.concatenate(keep))
    frames, bins = frames[chosen].astype(np.int64), bins[chosen].astype(np.int64)
    hashes, starts = [], []
    for step in range(1, _FANOUT * 2 + 1):
        delta = frames[step:] - frames[:-step]
        good = (delta > 1) & (delta <= _MAX_DELTA)
        pair = (bins[:-step] << 24) | (bins[step:] << 12) | delta
        hashes.append(pair[good])
        starts.append(frames[:-step][good])
    joined, at = np.concatenate(hashes), np.concatenate(starts)
    order = np.argsort(joined, kind="stable")
    return Print(joined[order], at[order].astype(np.int32))


def similarity(a: Print, b: Print) -> tuple[int, float, float]:
    """(votes at the best offset, their share of the shorter sound's hashes, offset of b against a in s)."""
    if not len(a.hashes) or not len(b.hashes):
        return 0, 0.0, 0.0
    low = np.searchsorted(b.hashes, a.hashes, side="left")
    count = np.searchsorted(b.hashes, a.hashes, side="right") - low
    if not count.any():
        return 0, 0.0, 0.0
    left = np.repeat(np.arange(len(a.hashes)), count)
    within = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    offset = b.frames[low[left] + within].astype(np.int64) - a.frames[left]
    votes = np.bincount(offset - offset.min())
    wide = votes + np.append(votes[1:], 0)  # an offset between two frames votes for both
    best = int(wide.argmax())
    n = int(wide[best])
    share = n / min(len(a.hashes), len(b.hashes))
    return n, min(share, 1.0), float((best + offset.min()) * _HOP / RATE_HZ)


def same_sound(a: Print, b: Print) -> bool:
    """Whether two sounds share a stretch: at least `MIN_VOTES` landmarks and `MIN_SHARE` of the shorter one."""
    votes, share, _ = similarity(a, b)
    return votes >= MIN_VOTES and share >= MIN_SHARE


def clusters(prints: list[Print]) -> list[int]:
    """For each sound the position of the first sound that it is the same as (transitively); itself if none."""
    parent = list(range(len(prints)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i, one in enumerate(prints):
        for j in range(i):
            if root(i) != root(j) and same_sound(prints[j], one):
                low, high = sorted((root(i), root(j)))
                parent[high] = low
    return [root(i) for i in range(len(prints))]
