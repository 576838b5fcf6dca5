"""Frames in memory: scaling, and a Video over an array."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem


def scaled_size(size: tuple[int, int], shorter_side: int | None) -> tuple[int, int]:
    """(height, width) after the shorter side is made `shorter_side`, aspect kept, at least 1 pixel."""
    height, width = size
    if shorter_side is None or shorter_side == min(size):
        return size
    scale = shorter_side / min(size)
    if height <= width:
        return shorter_side, max(1, round(width * scale))
    return max(1, round(height * scale)), shorter_side


def resize_frame(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """One RGB frame uint8 [H, W, 3] at (height, width): area averaging down, bilinear up."""
    if frame.shape[:2] == size:
        return frame
    import cv2  # noqa: PLC0415 - heavy

    shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
    resized = cv2.resize(
        frame, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    return np.asarray(resized, dtype=np.uint8)


def resize_frames(frames: NDArray[np.uint8], shorter_side: int | None) -> NDArray[np.uint8]:
    """RGB frames uint8 [m, H, W, 3] with the shorter side scaled."""
    if len(frames) == 0:
        return frames
    size = scaled_size((frames.shape[1], frames.shape[2]), shorter_side)
    return np.stack([resize_frame(frame, size) for frame in frames])


class ArrayVideo:
    """A `contracts.Video` over frames uint8 [n, H, W, 3] at `times_s` float64 [n], increasing from 0."""

    def __init__(self, frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> None:
        times_s = np.asarray(times_s, dtype=np.float64)
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise MediaError(
                Problem("ArrayVideo", "frames uint8 [n, H, W, 3]", f"{frames.dtype} {frames.shape}")
            )
        if times_s.shape != (len(frames),) or len(frames) == 0:
            raise MediaError(
                Problem("ArrayVideo", f"times [{len(frames)}], one frame or more", str(times_s.shape))
            )
        if float(times_s[0]) < 0 or bool(np.any(np.diff(times_s) <= 0)):
            raise MediaError(Problem("ArrayVideo", "times that increase from 0 or later"))
        self._frames, self._times_s = frames, times_s

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Time of every frame, float64 [n]."""
        return self._times_s

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._frames.shape[1], self._frames.shape[2]

    @property
    def decodable_until_s(self) -> float:
        """Infinity: nothing is decoded."""
        return math.inf

    def frames_at(
        self, times_s: NDArray[np.float64], *, shorter_side: int | None = None
    ) -> NDArray[np.uint8]:
        """Frames shown at these times, uint8 [m, H, W, 3]."""
        return resize_frames(self._frames[timeline.shown_at(self._times_s, times_s)], shorter_side)
