"""Which pictures are compared, and which of their flows make up a row: by timestamps, no video involved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_PAIR = 3.0
"""Two pictures farther apart than this many periods (and half a second) say nothing about the motion between
them.
"""

LEAST_SEEN = 0.25
"""A row is left out where less than this part of its period lies between two pictures."""


@dataclass(frozen=True)
class Rows:
    """Pictures, their flows, and the rows that these make up.

    `frame_times_s` [m] timestamps of the pictures used, increasing; flow j goes from picture j to j + 1.
    `times_s` [n] of the rows, increasing. Row i is the weighted sum of flows `first[i]` .. `last[i]` (int64 [n]):
    of each by `scale[j]` [m - 1], which makes it the motion in one nominal period 1 / rate_hz however far apart its
    pictures are, and by the part of the row's stretch that it covers (`weights`). `near` [n]: no flow of the row is
    across a long gap.
    """

    frame_times_s: NDArray[np.float64]
    times_s: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    scale: NDArray[np.float64]
    near: NDArray[np.bool_]
    half_s: float | None

    def weights(self, row: int) -> NDArray[np.float64]:
        """What each flow of a row counts, [last - first + 1], in all 1."""
        if self.half_s is None:
            return np.ones(1)
        flows = slice(self.first[row], self.last[row] + 1)
        begin_s = np.maximum(self.frame_times_s[:-1][flows], self.times_s[row] - self.half_s)
        end_s = np.minimum(self.frame_times_s[1:][flows], self.times_s[row] + self.half_s)
        return np.asarray((end_s - begin_s) / np.sum(end_s - begin_s), dtype=np.float64)


def plan_rows(
    frame_times_s: NDArray[np.float64], duration_s: float, rate_hz: float, apart_s: float | None = None
) -> Rows:
    """Pictures are the frames nearest to 0, a, 2 a, ... (a = `apart_s`, default 1 / rate) in the clip, each once.

    With a period between the pictures each flow is a row, at the middle of its two timestamps. With less, rows
    are at (k + 1/2) / rate, and each is the mean over its period of the motion that the flows in it tell.
    A source with fewer frames than asked for gives as many pictures as it has: repeated ones would look like
    stillness.
    """
    period_s = 1.0 / rate_hz
    apart_s = min(apart_s or period_s, period_s)
    grid_s = np.arange(max(1, round(duration_s / apart_s)), dtype=np.float64) * apart_s
    used_s = frame_times_s[np.unique(_nearest(frame_times_s, grid_s))]
    gap_s = np.diff(used_s)
    close = gap_s <= max(0.5, LONGEST_PAIR * period_s)
    scale = np.asarray(period_s / np.maximum(gap_s, 1e-6), dtype=np.float64)
    if apart_s > period_s - 1e-9:
        each = np.arange(len(gap_s), dtype=np.int64)
        return Rows(used_s, (used_s[:-1] + used_s[1:]) / 2, each, each, scale, close, None)
    times_s: NDArray[np.float64] = (
        np.arange(max(1, round(duration_s * rate_hz)), dtype=np.float64) + 0.5
    ) * period_s
    begin_s, end_s = times_s - period_s / 2, times_s + period_s / 2
    if len(used_s) < 2:
        times_s = times_s[:0]
    else:
        seen_s = np.minimum(end_s, used_s[-1]) - np.maximum(begin_s, used_s[0])
        times_s = times_s[seen_s >= LEAST_SEEN * period_s]
        if len(times_s) == 0:
            times_s = used_s[:2].mean(keepdims=True)
    half_s = period_s / 2 - 1e-9
    first = np.searchsorted(used_s, times_s - half_s, side="right") - 1
    last = np.searchsorted(used_s, times_s + half_s, side="left") - 1
    first, last = (np.clip(index, 0, max(0, len(gap_s) - 1)).astype(np.int64) for index in (first, last))
    near = np.array([bool(close[a : b + 1].all()) for a, b in zip(first, last, strict=True)], dtype=np.bool_)
    return Rows(used_s, times_s, first, last, scale, near, half_s)


def _nearest(frame_times_s: NDArray[np.float64], times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frame nearest to each time, the earlier one of two equally near."""
    right = np.clip(np.searchsorted(frame_times_s, times_s), 0, len(frame_times_s) - 1)
    left = np.maximum(right - 1, 0)
    nearer_left = times_s - frame_times_s[left] <= np.abs(frame_times_s[right] - times_s) + 1e-9
    return np.where(nearer_left, left, right).astype(np.int64)
