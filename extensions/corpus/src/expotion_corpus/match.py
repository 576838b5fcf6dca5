"""Which sounds are the same: fingerprints compared pair by pair, or all at once through an index.

Landmarks find where two sounds could be the same, a coarse spectrogram tells if they are. Landmarks are pairs of
spectral peaks (Wang 2003, 'An industrial-strength audio search algorithm', ISMIR): a pair is a hash of its two
frequencies and their distance in time, and equal hashes at one offset in time point to the same sound. Repeated
bars share landmarks too, so what they point to is compared by level in frequency bands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
MIN_VOTES = 10
"""Landmarks at one offset in time that make two sounds worth a closer look."""
MIN_LIKENESS = 0.78
"""Correlation from which two stretches are the same sound; docs/data.md says how it was measured."""
WINDOW_S = 10.0
SHORTEST_S = 3.0
_OFFSETS = 3
_EVERY = 2_000_000


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
    return _sorted(*_landmarks(magnitude), _bands(magnitude))


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
    parts = [np.abs(np.fft.rfft(windows[at : at + 4096] * shape, axis=1)) for at in range(0, len(windows), 4096)]
    return np.concatenate(parts).astype(np.float32)


def _landmarks(magnitude: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(hashes, frames) of pairs of peaks between 31 and 3117 Hz."""
    from scipy.ndimage import maximum_filter

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


@dataclass(frozen=True)
class Match:
    """Two sounds of a list share a stretch: landmarks at one offset, how alike, and b's offset against a in s."""

    a: int
    b: int
    votes: int
    likeness: float
    offset_s: float


def similarity(a: Print, b: Print) -> tuple[int, float, float]:
    """(votes, likeness, offset of b against a in s) of the offset at which two sounds are most alike.

    Votes are landmarks that both have at that offset, within the 10 s that hold most of them. The likeness is the
    correlation (-1..1) of their band levels there, each band against its mean: gain, equalisers and faint noise
    do not matter. 0 for sounds that share no landmarks or overlap by less than 3 s.
    """
    best = (0, 0.0, 0.0)
    if not len(a.hashes) or not len(b.hashes):
        return best
    left, right = _expanded(*_places(b.hashes, a.hashes))
    if not len(left):
        return best
    offset = b.frames[right].astype(np.int64) - a.frames[left]
    least = int(offset.min())
    votes = np.bincount(offset - least)
    wide = votes + np.append(votes[1:], 0)  # an offset between two frames votes for both
    for _ in range(_OFFSETS):
        top = int(wide.argmax())
        if wide[top] < max(MIN_VOTES, best[0] // 4):
            break
        wide[max(0, top - 2) : top + 3] = 0
        at = np.sort(a.frames[left[(offset == top + least) | (offset == top + least + 1)]])
        found = _look(a, b, at, top + least)
        if found[1] > best[1]:
            best = found
    return best


def _look(a: Print, b: Print, at: NDArray[np.int32], offset: int) -> tuple[int, float, float]:
    """`similarity` at one offset; `at` are the frames of `a`, sorted, of the landmarks that both have."""
    window = round(WINDOW_S / FRAME_S)
    inside = np.searchsorted(at, at + window) - np.arange(len(at))
    densest = int(inside.argmax())
    best = (int(inside[densest]), 0.0, offset * FRAME_S)
    for shift in (offset - 1, offset, offset + 1, offset + 2):
        low, high = max(0, -shift), min(len(a.bands), len(b.bands) - shift)
        if high - low < SHORTEST_S / FRAME_S:
            continue
        begin = max(low, min(int(at[densest]), high - window))
        end = min(begin + window, high)
        likeness = _correlation(a.bands[begin:end], b.bands[begin + shift : end + shift])
        if likeness > best[1]:
            best = (best[0], likeness, shift * FRAME_S)
    return best


def _correlation(a: NDArray[np.int8], b: NDArray[np.int8]) -> float:
    x, y = a.astype(np.float32), b.astype(np.float32)
    x -= x.mean(axis=0)
    y -= y.mean(axis=0)
    scale = float(np.sqrt(np.vdot(x, x) * np.vdot(y, y)))
    return float(np.vdot(x, y)) / scale if scale > 0 else 0.0


def same_sound(a: Print, b: Print) -> bool:
    """Whether two sounds share a stretch: enough landmarks at one offset, and alike there."""
    votes, likeness, _ = similarity(a, b)
    return votes >= MIN_VOTES and likeness >= MIN_LIKENESS


def matches(prints: Sequence[Print], compare: Callable[[int, int], bool] = lambda a, b: True) -> list[Match]:
    """All pairs (a < b) of sounds that share a stretch and that `compare` asks for.

    An index of all landmarks finds the few pairs that are worth comparing, so that a thousand sounds take seconds.
    """
    sizes = [len(one.hashes) for one in prints]
    if not sum(sizes):
        return []
    hashes = np.concatenate([one.hashes for one in prints])
    frames = np.concatenate([one.frames for one in prints])
    owner = np.repeat(np.arange(len(prints)), sizes)
    order = np.argsort(hashes, kind="stable")  # equal hashes stay in the order of their sounds
    hashes, frames, owner = hashes[order], frames[order], owner[order]
    found = []
    for b, one in enumerate(prints):
        for a in _candidates(one, b, hashes, frames, owner):
            if compare(a, b):
                votes, likeness, offset_s = similarity(prints[a], one)
                if votes >= MIN_VOTES and likeness >= MIN_LIKENESS:
                    found.append(Match(a, b, votes, likeness, offset_s))
    return found


def _candidates(
    one: Print, own: int, hashes: NDArray[np.int64], frames: NDArray[np.int32], owner: NDArray[np.int64]
) -> list[int]:
    """Earlier sounds that have at least half of `MIN_VOTES` landmarks of this one at one offset, give or take."""
    low, count = _places(hashes, one.hashes)
    keys: list[NDArray[np.int64]] = []
    counts: list[NDArray[np.int64]] = []
    ends = np.cumsum(count)
    begin = 0
    while begin < len(count):  # in parts of bounded size
        end = max(begin + 1, int(np.searchsorted(ends, (ends[begin - 1] if begin else 0) + _EVERY)))
        left, right = _expanded(low[begin:end], count[begin:end])
        earlier = owner[right] < own
        left, right = left[earlier], right[earlier]
        offset = (one.frames[begin:end][left].astype(np.int64) - frames[right]) >> 1
        key, n = np.unique((owner[right] << 32) + offset + (1 << 31), return_counts=True)
        keys.append(key)
        counts.append(n)
        begin = end
    if not keys:
        return []
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(inverse, weights=np.concatenate(counts), minlength=len(key))
    return sorted({int(k) for k in key[total * 2 >= MIN_VOTES] >> 32})


def _places(known: NDArray[np.int64], hashes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first place, how many) of each hash among the sorted known ones."""
    low = np.searchsorted(known, hashes, side="left")
    return low, np.searchsorted(known, hashes, side="right") - low


def _expanded(low: NDArray[np.int64], count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(query, place) of every equal hash: each query i has the places low[i] .. low[i] + count[i] - 1."""
    left = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    return left, low[left] + within


def clusters(prints: Sequence[Print]) -> list[int]:
    """For each sound the position of the first sound that it is the same as (transitively); itself if none."""
    return linked(len(prints), ((match.a, match.b) for match in matches(prints)))


def linked(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of n the first one that pairs tie it to, over others as well; itself if none (union-find)."""
    first = list(range(n))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        first[high] = low
    return [root(i) for i in range(n)]
