"""The body's landmarks as a control: where it is, how fast it moves and where a movement is braked.

Lengths count in the person's shoulder widths (the median over the clip), so neither size nor distance matters; arms
are measured from the middle of the shoulders at the same moment, which a shaking camera moves along, and shoulders
and head from where the shoulders are in the middle of the clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expotion_person_landmarks.landmarks import (
    LEFT_ELBOW,
    LEFT_SHOULDER,
    LEFT_WRIST,
    NOSE,
    RIGHT_ELBOW,
    RIGHT_SHOULDER,
    RIGHT_WRIST,
    SEEN,
    Landmarks,
    shoulder_width_px,
)
from expotion_person_landmarks.smoothing import smooth_path

Floats = NDArray[np.float64]

ARMS = (LEFT_WRIST, RIGHT_WRIST, LEFT_ELBOW, RIGHT_ELBOW)
TRUNK = (LEFT_SHOULDER, RIGHT_SHOULDER, NOSE)
PER_POINT = ("x", "y", "x_speed", "y_speed", "braking", "seen")
CHANNELS = tuple(
    f"{point}_{what}"
    for point in (
        "left_wrist",
        "right_wrist",
        "left_elbow",
        "right_elbow",
        "left_shoulder",
        "right_shoulder",
        "head",
    )
    for what in PER_POINT
)
"""x to the picture's right, y down; speeds in shoulder widths a second; left and right are the person's own."""
FASTEST = 10.0
"""Shoulder widths a second; a landmark that jumps counts as this fast."""
SOFT_SPEED = 0.25
BRAKING_UNIT = 10.0
"""Shoulder widths per second squared that count as 1."""


def pose_features(body: Landmarks, at_s: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values float32 [m, 42] by CHANNELS at `at_s` [m], and where both shoulders are known [m].

    A point that is not seen has zeros in all its channels.
    """
    unit = shoulder_width_px(body)
    if not np.isfinite(unit) or unit <= 0:
        return np.zeros((len(at_s), len(CHANNELS)), np.float32), np.zeros(len(at_s), bool)
    paths = {number: _path(body, number, at_s, unit) for number in (*ARMS, *TRUNK)}
    left, right = paths[LEFT_SHOULDER], paths[RIGHT_SHOULDER]
    valid = left[3] & right[3]
    middle = tuple((left[part] + right[part]) / 2 for part in range(3))
    origin = np.median(middle[0][valid], axis=0) if valid.any() else np.zeros(2)
    columns = []
    for number in (*ARMS, *TRUNK):
        place, speed, change, known = paths[number]
        if number in ARMS:
            place, speed, change = place - middle[0], speed - middle[1], change - middle[2]
        else:
            place = place - origin
        known = known & valid
        values = np.column_stack(
            [place, np.clip(speed, -FASTEST, FASTEST), braking(speed[:, 1], change[:, 1]) / BRAKING_UNIT, known]
        )
        columns.append(np.where(known[:, None], values, 0.0))
    return np.concatenate(columns, axis=1).astype(np.float32), valid


def braking(down: Floats, change: Floats) -> Floats:
    """How strongly downward movement is stopped [m]: minus its change, where `down` (the speed) is above 0.

    The gate is soft: half open at rest, where a stop is strongest.
    """
    gate = 1.0 / (1.0 + np.exp(-np.clip(down / SOFT_SPEED, -30, 30)))
    return np.asarray(np.maximum(-change, 0.0) * gate)


def _path(
    body: Landmarks, number: int, at_s: Floats, unit: float
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    visibility = body.points[:, number, 2].astype(np.float64)
    weights = np.where(visibility >= SEEN, visibility, 0.0)
    places = body.points[:, number, :2].astype(np.float64) / unit
    return smooth_path(body.times_s, places, weights, at_s)
