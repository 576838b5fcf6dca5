"""Frames in memory: scaling, a Video over an array, a Clip of one, and a bounded store of decoded frames."""

from __future__ import annotations

import hashlib
import math
import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Video
from expotion.errors import MediaError, Problem

Size = tuple[int, int]
"""(height, width) in pixels."""

Frame = NDArray[np.uint8]
"""RGB, uint8 [H, W, 3]."""


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
    resized = cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
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
            got = f"{frames.dtype} {frames.shape}"
            raise MediaError(Problem("ArrayVideo", "frames uint8 [n, H, W, 3]", got))
        if times_s.shape != (len(frames),) or len(frames) == 0:
            wanted = f"times [{len(frames)}], one frame or more"
            raise MediaError(Problem("ArrayVideo", wanted, str(times_s.shape)))
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

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """Frames shown at these times, uint8 [m, H, W, 3]."""
        return resize_frames(self._frames[timeline.shown_at(self._times_s, times_s)], shorter_side)


class MemoryClip(Clip):
    """A clip that no file holds: frames that have just come, or nothing but words."""

    def __init__(
        self, id: str, duration_s: float = 0.0, video: Video | None = None, caption: str | None = None
    ) -> None:
        self.id, self.duration_s, self._video, self.caption = id, duration_s, video, caption
        self._own = b"" if video is None else os.urandom(16)
        self.tracks: dict[str, Path] = {}

    @property
    def content_hash(self) -> str:
        """Hash of the words; one of its own for a clip with frames, of which nothing may be taken for another's."""
        return hashlib.sha256((self.caption or "").encode() + self._own).hexdigest()

    @property
    def video(self) -> Video | None:
        """The frames, where there are some."""
        return self._video

    def audio(self, sample_rate_hz: int) -> None:
        """None."""
        return None


SLAB_BYTES = 4 * 1024**2
"""Frames are kept in blocks of about this size. Kept one by one, small frames come to lie between the decoder's
large buffers, which then never fit again into what was freed: memory grew by half a frame for each one decoded."""


class _Slab:
    """Frames of one size that came one after the other; dropped together."""

    def __init__(self, n_frames: int, size: Size) -> None:
        self.frames: Frame = np.empty((n_frames, *size, 3), np.uint8)
        self.indices: list[int] = []
        self.pinned: set[int] = set()


class FrameCache:
    """Frames uint8 [H, W, 3] by index and size, at most `limit_bytes` of them.

    Where room is needed, the largest size loses its least recently used frames: a pass over a clip at its own
    size does not push out the small frames that another encoder will ask for. Pinned frames stay. Not safe
    under threads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.n_bytes = 0
        self._slabs: dict[Size, OrderedDict[int, _Slab]] = {}
        self._filling: dict[Size, _Slab] = {}
        self._where: dict[tuple[int, Size], tuple[_Slab, int]] = {}

    def get(self, index: int, size: Size) -> Frame | None:
        """A frame, now among the most recently used ones of its size, or None. Copy it before the next `put`."""
        found = self._where.get((index, size))
        if found is None:
            return None
        slab, row = found
        self._slabs[size].move_to_end(id(slab))
        frame: Frame = slab.frames[row]
        return frame

    def put(self, index: int, frame: Frame, *, pinned: bool = False) -> None:
        """Keep a copy of a frame, unless it alone exceeds the limit; a pinned one until `unpin`."""
        size = frame.shape[0], frame.shape[1]
        if frame.nbytes > self.limit_bytes:
            return
        if (index, size) not in self._where:
            slab = self._filling.get(size)
            if slab is None or len(slab.indices) == len(slab.frames):
                slab = self._new_slab(size, frame.nbytes)
            row = len(slab.indices)
            slab.frames[row] = frame
            slab.indices.append(index)
            self._where[index, size] = slab, row
        if pinned:
            self._where[index, size][0].pinned.add(index)

    def unpin(self, index: int) -> None:
        """Let a frame go where room is needed, in all its sizes."""
        for size in self._slabs:
            found = self._where.get((index, size))
            if found is not None:
                found[0].pinned.discard(index)

    def clear(self) -> None:
        """Drop everything."""
        self._slabs.clear()
        self._filling.clear()
        self._where.clear()
        self.n_bytes = 0

    def _new_slab(self, size: Size, frame_bytes: int) -> _Slab:
        n_frames = max(1, min(SLAB_BYTES, self.limit_bytes // 32) // frame_bytes)
        while self.n_bytes + n_frames * frame_bytes > self.limit_bytes and self._drop_one():
            pass
        slab = _Slab(n_frames, size)
        self._slabs.setdefault(size, OrderedDict())[id(slab)] = slab
        self._filling[size] = slab
        self.n_bytes += slab.frames.nbytes
        return slab

    def _drop_one(self) -> bool:
        """Drop the least recently used slab of the largest size that has one without pinned frames."""
        for size in sorted(self._slabs, key=lambda size: size[0] * size[1], reverse=True):
            for slab in self._slabs[size].values():
                if slab.pinned:
                    continue
                del self._slabs[size][id(slab)]
                for index in slab.indices:
                    del self._where[index, size]
                if self._filling.get(size) is slab:
                    del self._filling[size]
                self.n_bytes -= slab.frames.nbytes
                return True
        return False
