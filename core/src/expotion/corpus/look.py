"""A file's picture decoded once, a frame each second: up to where it decodes, and how much it changes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.data.scan import Scan
from expotion.data.video import FileVideo

SIDE_PX = 32
_AT_ONCE = 256


@dataclass(frozen=True)
class Look:
    """`times_s` float64 [n] of the frames looked at, `changes` float64 [n - 1] between neighbours (mean absolute
    difference, 0..255), and the time from which the picture does not decode (infinity for none)."""

    times_s: NDArray[np.float64]
    changes: NDArray[np.float64]
    until_s: float

    def change(self, begin_s: float, end_s: float) -> float:
        """Mean change within a stretch; -1 where fewer than two frames were looked at in it."""
        inside = (self.times_s[:-1] >= begin_s - 0.5) & (self.times_s[1:] <= end_s + 0.5)
        return float(self.changes[inside].mean()) if inside.any() else -1.0


def look(source: Scan, begin_s: float, end_s: float) -> Look:
    """Decode the frames shown each second of a stretch, the last one included. Raises MediaError for no picture."""
    with contextlib.closing(FileVideo(source.path, scanned=source)) as video:
        last_s = float(video.frame_times_s[video.frame_times_s < end_s][-1])
        times_s = np.append(np.arange(begin_s, last_s, 1.0), last_s)
        changes: list[NDArray[np.float64]] = []
        before: NDArray[np.float32] | None = None
        for at in range(0, len(times_s), _AT_ONCE):
            frames = video.frames_at(times_s[at : at + _AT_ONCE], shorter_side=SIDE_PX).astype(np.float32)
            joined = frames if before is None else np.concatenate([before, frames])
            changes.append(np.abs(np.diff(joined, axis=0)).mean(axis=(1, 2, 3), dtype=np.float64))
            before = frames[-1:]
        return Look(times_s, np.concatenate(changes), video.decodable_until_s)
