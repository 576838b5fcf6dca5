"""Decoded frames that are kept: bounded in bytes, large frames dropped before small ones."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(height, width) in pixels."""

Frame = NDArray[np.uint8]

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
