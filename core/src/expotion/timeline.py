"""Seconds, rates and frames meet here and nowhere else.

Every time is in seconds from the clip's start, float64. Every conversion between seconds, audio samples,
codec frames and video frames is a function of this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem

Smoother = Literal["linear", "hold", "angle", "event"]

CODEC_RATE_HZ = 50.0
"""Frame rate of MusicGen's codec at 32 kHz, and so the step rate of its language model (facts 1)."""

CODEC_SAMPLE_RATE_HZ = 32_000
"""Sample rate of MusicGen's codec."""

MIN_GAP_S = 0.5
"""Neighbouring valid samples up to this far apart are always joined (design 4)."""

EPSILON_S = 1e-6
"""Times closer than this are the same time: container timestamps are rounded to microseconds or worse."""


# ------------------------------------------------------------------------------------------- conversions


def n_steps(duration_s: float, rate_hz: float) -> int:
    """Number T of whole frames in a duration: round(duration * rate) to the nearest frame, at least 1."""
    return max(1, round(duration_s * rate_hz))


def step_times_s(n_frames: int, rate_hz: float, start_s: float = 0.0) -> NDArray[np.float64]:
    """Times of rows 0..T of a smoothed track, float64 [T+1]: row s is at start + s / rate (design 4)."""
    return start_s + np.arange(n_frames + 1, dtype=np.float64) / rate_hz


def frames_duration_s(n_frames: int, rate_hz: float) -> float:
    """Seconds that n frames (codec frames, audio samples, video frames) last at a rate."""
    return n_frames / rate_hz


def n_samples(duration_s: float, sample_rate_hz: float) -> int:
    """Audio samples in a duration, to the nearest sample, at least 0."""
    return max(0, round(duration_s * sample_rate_hz))


def sample_times_s(n: int, sample_rate_hz: float, start_s: float = 0.0) -> NDArray[np.float64]:
    """Times of n samples at a rate, float64 [n]: sample i is at start + i / rate."""
    return start_s + np.arange(n, dtype=np.float64) / sample_rate_hz


def samples_per_frame(sample_rate_hz: int, rate_hz: float = CODEC_RATE_HZ) -> int:
    """Audio samples in one codec frame. Raises ExpotionError where that is not a whole number."""
    hop = sample_rate_hz / rate_hz
    if abs(hop - round(hop)) > 1e-9:
        raise ExpotionError(
            Problem(
                "samples_per_frame", "the frame rate must divide the sample rate", f"{sample_rate_hz} / {rate_hz}"
            )
        )
    return round(hop)


def frame_at(time_s: float, rate_hz: float) -> int:
    """Index of the frame of a regular grid that contains a time: floor(time * rate), not below 0."""
    return max(0, math.floor((time_s + EPSILON_S) * rate_hz))


def shown_at(times_s: NDArray[np.float64], at_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the frame on screen at each time: the last one whose timestamp is not later, int64 [m].

    `times_s` [n >= 1] increasing. A time before the first frame gives the first frame.
    """
    index = np.searchsorted(times_s, np.asarray(at_s, dtype=np.float64) + EPSILON_S, side="right") - 1
    return np.clip(index, 0, len(times_s) - 1).astype(np.int64)


def period_s(times_s: NDArray[np.float64]) -> float | None:
    """Typical distance of samples (the median), or None for fewer than two."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else None


@dataclass(frozen=True)
class Window:
    """A stretch of time, in seconds from the clip's start."""

    start_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """First time after the window."""
        return self.start_s + self.duration_s

    @property
    def centre_s(self) -> float:
        """Middle of the window."""
        return self.start_s + self.duration_s / 2.0


def windows(duration_s: float, window_s: float, hop_s: float) -> list[Window]:
    """Windows of equal length every `hop_s`, the last of which ends with the clip.

    The last window is moved back so that it ends at `duration_s`; a clip shorter than a window gives one
    window as long as the clip.
    """
    if window_s <= 0 or hop_s <= 0:
        raise ExpotionError(Problem("windows", "window and hop must be positive", f"{window_s}, {hop_s}"))
    last_s = max(0.0, duration_s - window_s)
    n = math.ceil((last_s - EPSILON_S) / hop_s) if last_s > EPSILON_S else 0
    starts = [i * hop_s for i in range(n)] + [last_s]
    return [Window(start_s, min(window_s, duration_s)) for start_s in starts]


# --------------------------------------------------------------------------------------------- smoothing


def default_max_gap_s(native_period_s: float) -> float:
    """Largest gap that is bridged: the larger of 0.5 s and two native periods (design 4)."""
    return max(MIN_GAP_S, 2.0 * native_period_s)


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
    """A native track at other times (design 4; paper eq. 1, 3).

    `values` [n, D] at `times_s` [n] (strictly increasing), used where `valid` [n]; asked for at `at_s` [m].
    Returns float32 [m, D], 0 on invalid rows, and bool [m].

    Only valid samples count. A row is valid on a sample, between two neighbours at most `max_gap_s` apart
    (default: the larger of 0.5 s and two native periods), and up to one native period before the first or
    after the last sample. The native period is the median distance of all samples where it is not given; a
    single sample without a period is valid only at its own time. The kinds:

    - `linear`: interpolation between the neighbours; at the ends the first or last value is held.
    - `hold`: the last sample not later than the row; rows before the first sample are invalid.
    - `angle`: `values` are radians; each dimension takes the shorter way round the circle; result in
      (-pi, pi].
    - `event`: impulses. Each sample goes to its nearest row (the earlier one in a tie), samples on one row
      are summed, other rows are 0, so that the sum over time is kept. `at_s` must increase; samples more
      than half a row outside it are dropped.

    Raises ExpotionError for shapes that do not fit, times that do not increase, and valid values that are
    not finite.
    """
    _check(values, times_s, valid)
    at = np.asarray(at_s, dtype=np.float64)
    if native_period_s is None:
        native_period_s = period_s(times_s) or 0.0
    if max_gap_s is None:
        max_gap_s = default_max_gap_s(native_period_s)
    t = np.asarray(times_s, dtype=np.float64)[valid]
    v = np.asarray(values)[valid].astype(np.float64)
    if len(t) == 0 or len(at) == 0:
        return np.zeros((len(at), values.shape[1]), np.float32), np.zeros(len(at), np.bool_)

    before = np.searchsorted(t, at + EPSILON_S, side="right") - 1  # -1 where a row lies before every sample
    left = np.clip(before, 0, len(t) - 1)
    right = np.clip(before + 1, 0, len(t) - 1)
    gap = t[right] - t[left]
    on_sample = np.abs(at - t[left]) <= EPSILON_S
    joined = (gap > 0) & (gap <= max_gap_s + EPSILON_S)
    reach = native_period_s + EPSILON_S
    after_last = (before == len(t) - 1) & (at - t[-1] <= reach)
    before_first = (before < 0) & (t[0] - at <= reach)
    row_valid = on_sample | ((before >= 0) & joined) | after_last
    if kind != "hold":
        row_valid |= before_first

    if kind == "event":
        rows = _place_events(v, t, at, native_period_s)
    elif kind == "hold":
        rows = v[left]
    else:
        fraction = np.clip((at - t[left]) / np.where(gap > 0, gap, 1.0), 0.0, 1.0)[:, None]
        delta = v[right] - v[left]
        turned = _wrap(delta) if kind == "angle" else delta
        rows = v[left] + fraction * turned
        rows = _wrap(rows) if kind == "angle" else rows
    rows = np.where(row_valid[:, None], rows, 0.0)
    return rows.astype(np.float32), row_valid


def _check(values: NDArray[np.float32], times_s: NDArray[np.float64], valid: NDArray[np.bool_]) -> None:
    n = len(times_s)
    if values.ndim != 2 or len(values) != n or valid.shape != (n,) or times_s.ndim != 1:
        got = f"values {values.shape}, times_s {times_s.shape}, valid {valid.shape}"
        raise ExpotionError(Problem("smooth", "values [n, D], times_s [n], valid [n]", got))
    if valid.dtype != np.bool_:
        raise ExpotionError(Problem("smooth", "valid must be bool", str(valid.dtype)))
    if not bool(np.all(np.diff(times_s) > 0)):
        raise ExpotionError(Problem("smooth", "times_s must increase strictly"))
    if not bool(np.isfinite(values[valid]).all()):
        raise ExpotionError(
            Problem("smooth", "valid values must be finite", fix="mark samples without a value by valid=False")
        )


def _wrap(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radians into (-pi, pi]."""
    wrapped: NDArray[np.float64] = np.pi - np.mod(np.pi - angle, 2.0 * np.pi)
    return wrapped


def _place_events(
    values: NDArray[np.float64], times_s: NDArray[np.float64], at: NDArray[np.float64], native_period_s: float
) -> NDArray[np.float64]:
    """Sum of the samples nearest to each row, [m, D]."""
    if not bool(np.all(np.diff(at) > 0)):
        raise ExpotionError(Problem("smooth", "at_s must increase strictly for events"))
    middles = (at[1:] + at[:-1]) / 2.0
    row = np.searchsorted(middles, times_s - EPSILON_S, side="right")
    first_half = (at[1] - at[0]) / 2.0 if len(at) > 1 else native_period_s / 2.0
    last_half = (at[-1] - at[-2]) / 2.0 if len(at) > 1 else native_period_s / 2.0
    inside = (times_s >= at[0] - first_half - EPSILON_S) & (times_s <= at[-1] + last_half + EPSILON_S)
    placed = np.zeros((len(at), values.shape[1]))
    np.add.at(placed, row[inside], values[inside])
    return placed
