"""Movement events: the moments at which downward movement of head, shoulders and hands is stopped.

Paths of five landmarks (nose, shoulders, wrists) by local quadratic regression (`smoothing.py`), in units of the
shoulders' median width, so that neither size nor distance matters. The braking of a landmark is its upward
acceleration while it moves down; the sum over the landmarks that are seen, at 100 Hz, has a peak where a hand lands,
the head nods or the shoulders drop. Peaks count from the height of one standard deviation over what surrounds them,
0.2 s apart. It needs landmarks only, [n, 33, 2 or 3] in MediaPipe's order, wherever they are from: nothing here
belongs to an encoder. What a flow of pixels calls a motion beat (`beat_alignment`) is another definition.

Whether events beat time is tested against chance (`beats_time`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.beats import FRAME_RATE_HZ, Followed, Follower, follow
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_SHOULDER, RIGHT_WRIST, SEEN
from expotion_person_landmarks.smoothing import smooth_path

Floats = NDArray[np.float64]

POINTS = (NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST)
SIGMA_S = 0.05
"""Of an alignment: how far a beat may be from an event."""
LEVEL_RATE_HZ, LEVEL_WINDOW_S = 10.0, 0.5
"""How movement energy and the sound's level are read to be compared."""

_PROMINENCE = 1.0  # of the curve's standard deviation
_MIN_DISTANCE_S = 0.2  # 300 events per minute
_STILL = 0.5  # shoulder widths per second squared: a curve that never reaches it has no events
_BELL_S = 0.04  # standard deviation of an event's bell in the activation


@dataclass(frozen=True)
class Movement:
    """What a person's landmarks do, at 100 Hz from 0 s: row i at i / 100 s.

    `braking` [n] in shoulder widths per second squared, summed over the landmarks; `energy` [n] their summed squared
    speed, (shoulder widths per second)^2; `known` [n] where both shoulders are seen. `events_s` [e] and their heights
    `strength` [e].
    """

    braking: Floats
    energy: Floats
    known: NDArray[np.bool_]
    events_s: Floats
    strength: Floats


def movement(points: NDArray[np.floating], times_s: Floats, duration_s: float) -> Movement:
    """Movement of landmarks [n, 33, 2 or 3] (pixels, and visibility in 0..1) at `times_s` [n]."""
    at_s = np.arange(int(duration_s * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    points = np.asarray(points, dtype=np.float64)
    seen = points[..., 2] >= SEEN if points.shape[-1] == 3 else np.isfinite(points).all(axis=-1)
    nothing = np.zeros(len(at_s))
    both = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER] if len(points) else np.zeros(0, dtype=bool)
    if not both.any():
        return Movement(nothing, nothing, np.zeros(len(at_s), dtype=bool), np.zeros(0), np.zeros(0))
    across = points[both, LEFT_SHOULDER, :2] - points[both, RIGHT_SHOULDER, :2]
    unit = max(float(np.median(np.hypot(across[:, 0], across[:, 1]))), 1e-6)
    braking, energy, known = nothing.copy(), nothing.copy(), np.ones(len(at_s), dtype=bool)
    for number in POINTS:
        places = np.where(seen[:, number, None], points[:, number, :2], 0.0) / unit
        _, speed, change, is_known = smooth_path(times_s, places, seen[:, number].astype(np.float64), at_s)
        braking += np.where(is_known & (speed[:, 1] > 0), np.maximum(-change[:, 1], 0.0), 0.0)
        energy += np.where(is_known, (speed**2).sum(axis=1), 0.0)
        known &= is_known | (number not in (LEFT_SHOULDER, RIGHT_SHOULDER))
    peaks = _peaks(braking)
    return Movement(braking, energy, known, peaks / FRAME_RATE_HZ, braking[peaks])


def _peaks(braking: Floats) -> NDArray[np.int_]:
    from scipy.signal import find_peaks  # noqa: PLC0415

    spread = float(braking.std())
    if spread <= 0 or float(braking.max()) < _STILL:
        return np.zeros(0, dtype=np.int_)
    distance = round(_MIN_DISTANCE_S * FRAME_RATE_HZ)
    return np.asarray(find_peaks(braking, prominence=_PROMINENCE * spread, distance=distance)[0])
