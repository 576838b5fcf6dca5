"""Which sounds are the same: fingerprints compared pair by pair, or all at once through an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.corpus.fingerprint import FRAME_S, Print

MIN_VOTES = 10
"""Landmarks at one offset in time that make two sounds worth a closer look."""
MIN_LIKENESS = 0.78
"""Correlation from which two stretches are the same sound; docs/data.md says how it was measured."""
WINDOW_S = 10.0
SHORTEST_S = 3.0
_OFFSETS = 3
_EVERY = 2_000_000


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
    low = np.searchsorted(b.hashes, a.hashes, side="left")
    count = np.searchsorted(b.hashes, a.hashes, side="right") - low
    left, right = _expanded(low, count)
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


def _same(votes: int, likeness: float) -> bool:
    return votes >= MIN_VOTES and likeness >= MIN_LIKENESS


def same_sound(a: Print, b: Print) -> bool:
    """Whether two sounds share a stretch: enough landmarks at one offset, and alike there."""
    return _same(*similarity(a, b)[:2])


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
                if _same(votes, likeness):
                    found.append(Match(a, b, votes, likeness, offset_s))
    return found


def _candidates(
    one: Print,
    own: int,
    hashes: NDArray[np.int64],
    frames: NDArray[np.int32],
    owner: NDArray[np.int64],
) -> list[int]:
    """Earlier sounds that have at least half of `MIN_VOTES` landmarks of this one at one offset, give or take."""
    low = np.searchsorted(hashes, one.hashes, side="left")
    count = np.searchsorted(hashes, one.hashes, side="right") - low
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


def _expanded(
    low: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(query, place) of every equal hash: each query i has the places low[i] .. low[i] + count[i] - 1."""
    left = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
    return left, low[left] + within


def clusters(prints: Sequence[Print]) -> list[int]:
    """For each sound the position of the first sound that it is the same as (transitively); itself if none."""
    parent = list(range(len(prints)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for match in matches(prints):
        low, high = sorted((root(match.a), root(match.b)))
        parent[high] = low
    return [root(i) for i in range(len(prints))]
