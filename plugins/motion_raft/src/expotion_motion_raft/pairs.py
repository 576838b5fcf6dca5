"""Which pictures are compared and when their flow is: by timestamps, no video involved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LONGEST_PAIR = 3.0
"""Two pictures farther apart than this many periods (and half a second) say nothing about the motion between
them.
"""


@dataclass(frozen=True)
class Pairs:
    """Consecutive pictures. `frame_times_s` [m] timestamps of the pictures used; row i compares i with i + 1.

    `times_s` [m - 1] the middle between the two; `scale` [m - 1] by which their flow is multiplied, so
    that it is the motion in one nominal period 1 / rate_hz however far apart the two pictures really are.
    """

    frame_times_s: NDArray[np.float64]
    times_s: NDArray[np.float64]
    scale: NDArray[np.float64]
    near: NDArray[np.bool_]


def plan_pairs(frame_times_s: NDArray[np.float64], duration_s: float, rate_hz: float) -> Pairs:
    """The frames nearest to 0, 1 / rate, 2 / rate, ... within the clip, each once, and their pairs.

    A source with fewer frames than asked for gives as many pictures as it has: repeated frames would look
    like stillness.
    """
    grid_s = np.arange(max(1, round(duration_s * rate_hz))) / rate_hz
    right = np.clip(np.searchsorted(frame_times_s, grid_s), 0, len(frame_times_s) - 1)
    left = np.maximum(right - 1, 0)
    nearer_left = grid_s - frame_times_s[left] <= np.abs(frame_times_s[right] - grid_s) + 1e-9
    used_s = np.unique(np.where(nearer_left, frame_times_s[left], frame_times_s[right]))
    apart_s = np.diff(used_s)
    return Pairs(
        frame_times_s=used_s,
        times_s=np.asarray((used_s[:-1] + used_s[1:]) / 2, dtype=np.float64),
        scale=np.asarray(1.0 / (rate_hz * np.maximum(apart_s, 1e-6)), dtype=np.float64),
        near=np.asarray(apart_s <= max(0.5, LONGEST_PAIR / rate_hz), dtype=np.bool_),
    )
