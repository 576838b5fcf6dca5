"""Which frames each segment sees and when each row is: arithmetic on a grid of sample times, no video involved.

The grid has a point every 1 / fps seconds from the clip's start. At each point the picture is either the
source frame nearest in time or the mixture of the two frames around the point, each weighted by its nearness.
So no video is re-encoded and a source of any frame rate, or of a variable one, lands on the same grid. Row k
of a segment that starts at grid point g saw points g + 2k and g + 2k + 1 (tubelets of 2); its time is their
centre, (g + 2k + 0.5) / fps. Times are kept as whole half-points ("ticks") so that equal times are exactly
equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

STILL_S = 0.5
"""A picture that stands still because the video has not begun or has ended says nothing after this long."""


@dataclass(frozen=True)
class Segments:
    """Segments of a clip. `starts` int64 [S] grid points; `frames` per segment; `tubelet` points per row."""

    starts: NDArray[np.int64]
    frames: int
    tubelet: int
    fps: float

    @property
    def sample_times_s(self) -> NDArray[np.float64]:
        """Times at which the segments look at the video, float64 [S, frames]."""
        points = self.starts[:, None] + np.arange(self.frames)
        return np.asarray(points / self.fps, dtype=np.float64)

    @property
    def row_ticks(self) -> NDArray[np.int64]:
        """Centre of every row in half grid points, int64 [S, frames / tubelet]."""
        first = 2 * self.tubelet * np.arange(self.frames // self.tubelet) + self.tubelet - 1
        return np.asarray(2 * self.starts[:, None] + first, dtype=np.int64)


def plan_segments(
    duration_s: float, *, fps: float, frames: int, tubelet: int, step: int, windows: Literal["cover", "reference"]
) -> Segments:
    """Where the segments start.

    `cover`: from 0 on by `step` until every point of the clip is seen; the last start is moved back (by a multiple
    of the tubelet) so that it ends with the clip, and a clip shorter than a segment gets one that looks past its
    end, where the last frame is repeated. `reference`: floor((n - frames) / step) + 1 segments, centred, for
    n >= frames, which leaves up to step - 1 frames unseen (facts 4.2); shorter clips as with `cover`.
    """
    points = max(1, round(duration_s * fps))
    if windows == "reference" and points >= frames:
        count = (points - frames) // step + 1
        first = (points - ((count - 1) * step + frames)) // 2
        starts = first + step * np.arange(count, dtype=np.int64)
    else:
        last = max(0, -(-(points - frames) // tubelet) * tubelet)
        starts = np.append(np.arange(0, last, step, dtype=np.int64), last).astype(np.int64)
    return Segments(starts=starts, frames=frames, tubelet=tubelet, fps=fps)


def around(
    frame_times_s: NDArray[np.float64], times_s: NDArray[np.float64], *, between: Literal["blend", "nearest"]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The frames before and after each time and the weight of the latter in 0..1: three arrays of its shape.

    Before the first and after the last frame that frame stands alone. `nearest` rounds the weight to 0 or 1
    (the earlier one of two equally near).
    """
    last = len(frame_times_s) - 1
    before = np.clip(np.searchsorted(frame_times_s, times_s + 1e-9, side="right") - 1, 0, last)
    after = np.minimum(before + 1, last)
    gap_s = np.maximum(frame_times_s[after] - frame_times_s[before], 1e-9)
    weight = np.clip((times_s - frame_times_s[before]) / gap_s, 0.0, 1.0)
    if between == "nearest":
        weight = (weight > 0.5 + 1e-9).astype(np.float64)
    return before.astype(np.int64), after.astype(np.int64), weight.astype(np.float32)


def merge_rows(
    values: NDArray[np.float32], segments: Segments, *, overlap: Literal["central", "average"]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of overlapping segments [S, t, D] as one track: values float32 [n, D], strictly increasing ticks [n].

    `central` keeps, of the rows with one time, that nearest to the middle of its segment (the earlier segment of
    two equally near); `average` takes their mean.
    """
    ticks = segments.row_ticks
    rows = ticks.shape[1]
    flat, flat_ticks = values.reshape(-1, values.shape[-1]), ticks.ravel()
    unique, inverse, counts = np.unique(flat_ticks, return_inverse=True, return_counts=True)
    if overlap == "average":
        sums = np.zeros((len(unique), flat.shape[1]), dtype=np.float64)
        np.add.at(sums, inverse, flat.astype(np.float64))
        return (sums / counts[:, None]).astype(np.float32), unique
    from_middle = np.abs(np.tile(np.arange(rows) - (rows - 1) / 2, len(ticks)))
    order = np.lexsort((np.arange(len(flat)), from_middle, flat_ticks))
    first = order[np.unique(flat_ticks[order], return_index=True)[1]]
    return flat[first], unique


def tick_times_s(ticks: NDArray[np.int64], fps: float) -> NDArray[np.float64]:
    """Ticks (half grid points) as seconds."""
    return ticks / (2.0 * fps)


def rows_valid(
    times_s: NDArray[np.float64], *, frame_times_s: NDArray[np.float64], decodable_until_s: float, row_s: float
) -> NDArray[np.bool_]:
    """Where the rows saw a moving picture, bool [n].

    False from half a row before the place where decoding stops, more than STILL_S before the first or after the
    last frame, and everywhere in a video of one frame.
    """
    if len(frame_times_s) < 2:
        return np.zeros(len(times_s), dtype=np.bool_)
    inside = (times_s >= frame_times_s[0] - STILL_S) & (times_s <= frame_times_s[-1] + STILL_S)
    return np.asarray(inside & (times_s + row_s / 2 < decodable_until_s), dtype=np.bool_)
