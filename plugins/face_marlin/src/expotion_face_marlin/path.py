"""The path of a face's square: detections aligned to each other, smoothed, interpolated by time.

A detector's box is off by some percent of its side, differently in each frame, and the crop would tremble by
more than a brow moves. So each detection's surroundings are registered to the mean look of all of them, which
leaves only what they are off by on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_face_marlin.faces import FOLLOW_FACE_PX, FaceBox, Patch

Floats = NDArray[np.float64]
Look = NDArray[np.float32]

EDGE_S = 0.5
"""A path goes on this long before its first and after its last detection."""
SMOOTH_CENTRE_S = 0.35
SMOOTH_SIDE_S = 2.5
"""Standard deviations of the Gaussians that smooth over time."""
PATCH_REACH = 0.8
"""Half side of the surroundings that are kept of a detection, over the face's side."""
ALIGN_PX = 7
"""Detections are moved by at most this many of FOLLOW_FACE_PX."""
MIN_ALIKE = 0.5
"""Correlation with the mean look below which a detection stays where it is."""


@dataclass(frozen=True)
class Segment:
    """A stretch with a face: smoothed centre [n, 2] and side [n] over the shorter side, at `times_s` [n]."""

    times_s: Floats
    centre: Floats
    side: Floats


@dataclass(frozen=True)
class FacePath:
    """The chosen face over a clip: segments in order of time that do not overlap."""

    segments: tuple[Segment, ...]
    max_gap_s: float = 1.0

    def at(self, times_s: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Centre [m, 2], side [m] and valid [m] at these times; where invalid: the frame's middle, side 1."""
        centre = np.full((len(times_s), 2), 0.5)
        side = np.ones(len(times_s))
        valid = np.zeros(len(times_s), dtype=bool)
        for segment in self.segments:
            first, last = segment.times_s[0], segment.times_s[-1]
            inside = (times_s >= first - EDGE_S) & (times_s <= last + EDGE_S) & ~valid
            after = np.clip(np.searchsorted(segment.times_s, times_s), 1, max(1, len(segment.times_s) - 1))
            if len(segment.times_s) > 1:
                gap = segment.times_s[after] - segment.times_s[after - 1]
                outside = (times_s < first) | (times_s > last)
                inside &= outside | (gap <= self.max_gap_s + 1e-9)
            for axis in range(2):
                centre[inside, axis] = np.interp(times_s[inside], segment.times_s, segment.centre[:, axis])
            side[inside] = np.interp(times_s[inside], segment.times_s, segment.side)
            valid |= inside
        return centre, side, valid

    @property
    def largest_side(self) -> float:
        """Median side of the longest segment over the shorter side; 1 where no face was found."""
        if not self.segments:
            return 1.0
        return float(np.median(max(self.segments, key=lambda s: len(s.times_s)).side))


def smooth_segment(times_s: Sequence[float], boxes: Sequence[FaceBox], patches: Sequence[Patch]) -> Segment:
    """Detections of one face, in order of time, to its segment.

    Median over five (side) and three (centre) detections against jumps, two rounds of alignment, a Gaussian.
    """
    times = np.array(times_s, dtype=np.float64)
    values = np.array([(box.x, box.y, box.side) for box in boxes])
    side = _gaussian(times, _median(values[:, 2], 2)[:, None], SMOOTH_SIDE_S)[:, 0]
    centre = np.stack([_median(values[:, 0], 1), _median(values[:, 1], 1)], axis=1)
    for _ in range(2):
        centre = _aligned(patches, centre, side)
    return Segment(times, _gaussian(times, centre, SMOOTH_CENTRE_S), side)


def _aligned(patches: Sequence[Patch], centre: Floats, side: Floats) -> Floats:
    """Centres [n, 2] moved to where each patch looks most like the mean of all; on average they stay."""
    face, margin = FOLLOW_FACE_PX, ALIGN_PX
    views = [_view(patch, c, s, face + 2 * margin) for patch, c, s in zip(patches, centre, side, strict=True)]
    mean: Look = np.mean([view[margin:-margin, margin:-margin] for view in views], axis=0, dtype=np.float32)
    if len(views) < 2 or mean.std() < 2.0:
        return centre
    moves = np.zeros_like(centre)
    for i, view in enumerate(views):
        likeness: Any = cv2.matchTemplate(view, mean, cv2.TM_CCOEFF_NORMED)  # float32 [m, m]
        _, best, _, (x, y) = cv2.minMaxLoc(likeness)
        if best >= MIN_ALIKE and 0 < x < 2 * margin and 0 < y < 2 * margin:
            peak = (x + _between(likeness[y, x - 1 : x + 2]), y + _between(likeness[y - 1 : y + 2, x]))
            moves[i] = (np.array(peak) - margin) * side[i] / face
    return np.asarray(centre + moves - moves.mean(axis=0), dtype=np.float64)


def _view(patch: Patch, centre: Floats, side: float, size: int) -> Look:
    """Grey picture [size, size] around a centre, the face's side being FOLLOW_FACE_PX."""
    step = side / FOLLOW_FACE_PX / patch.step
    left, top = (
        (centre[axis] - start) / patch.step - size / 2 * step for axis, start in enumerate((patch.left, patch.top))
    )
    matrix = np.array([[step, 0.0, left + step / 2 - 0.5], [0.0, step, top + step / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(patch.grey, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(view, dtype=np.float32)


def _between(around: NDArray[np.float32]) -> float:
    """Top of the parabola through three values, -0.5..0.5 from the middle one, which is the largest."""
    bend = float(around[0] - 2 * around[1] + around[2])
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (around[0] - around[2]) / bend, -0.5, 0.5))


def _gaussian(times_s: Floats, values: Floats, spread_s: float) -> Floats:
    """Weighted mean around each time, values [n, k] -> [n, k]."""
    weights = np.exp(-0.5 * ((times_s[:, None] - times_s[None]) / spread_s) ** 2)
    return np.asarray(weights @ values / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _median(values: Floats, radius: int) -> Floats:
    padded = np.pad(values, radius, mode="edge")
    return np.asarray(
        np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1), axis=1), dtype=np.float64
    )
