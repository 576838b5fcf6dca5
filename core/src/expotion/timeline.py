"""Seconds, rates and frames meet here and nowhere else."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Smoother = Literal["linear", "hold", "angle", "event"]


def n_steps(duration_s: float, rate_hz: float) -> int:
    """Number T of whole frames in a duration: round(duration * rate) to the nearest frame, at least 1."""
    return max(1, round(duration_s * rate_hz))


def step_times_s(n_frames: int, rate_hz: float, start_s: float = 0.0) -> NDArray[np.float64]:
    """Times of rows 0..T of a smoothed track, float64 [T+1]: row s is at start + s / rate (design 4)."""
    return start_s + np.arange(n_frames + 1, dtype=np.float64) / rate_hz


def smooth(
    values: NDArray[np.float32],
    times_s: NDArray[np.float64],
    valid: NDArray[np.bool_],
    at_s: NDArray[np.float64],
    *,
    kind: Smoother = "linear",
    native_period_s: float | None = None,
    max_gap_s: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A native track at other times."""
    raise NotImplementedError
