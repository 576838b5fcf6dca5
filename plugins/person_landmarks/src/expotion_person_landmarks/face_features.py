"""The face's landmarks as a control: how the head moves and turns, brows, eyes, mouth.

Lengths count in face sizes: the root of the squares of the eyes' distance (outer corners) and the nose's length, in
each frame for what the face does, and the median over the clip for where the head is. What the face does is
measured after the head's roll is taken away.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from expotion_person_landmarks.landmarks import Landmarks
from expotion_person_landmarks.pose_features import BRAKING_UNIT, FASTEST, braking
from expotion_person_landmarks.smoothing import smooth_path

Floats = NDArray[np.float64]

CHANNELS = (
    "head_x", "head_y", "head_x_speed", "head_y_speed", "head_braking",
    "yaw", "pitch", "roll", "yaw_speed", "pitch_speed",
    "right_brow", "left_brow", "right_eye_open", "left_eye_open", "eyes_x", "eyes_y",
    "mouth_open", "mouth_open_speed", "mouth_width", "smile",
)  # fmt: skip
"""x and yaw to the picture's right, y and pitch down; left and right are the person's own."""
SIGMA_S = 0.045
"""Of the smoothing: a blink lasts 0.15 s."""

BRIDGE, UNDER_NOSE, NOSE_TIP, UPPER_LIP, LOWER_LIP = 168, 2, 1, 13, 14
RIGHT_MOUTH, LEFT_MOUTH = 61, 291
RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)
"""Outer and inner corner, middle of the upper and of the lower lid."""
RIGHT_BROW, LEFT_BROW = (105, 66), (334, 296)
RIGHT_IRIS, LEFT_IRIS = 468, 473
_EXPRESSIVE = [5, 6, 7, 8, 11, 12, 13]
"""Of `measures`: brows, lids, the mouth's opening, its width, smile."""


def face_features(face: Landmarks, at_s: Floats) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values float32 [m, 20] by CHANNELS at `at_s` [m], and where a face is known [m]."""
    present = face.present
    if not present.any():
        return np.zeros((len(at_s), len(CHANNELS)), np.float32), np.zeros(len(at_s), bool)
    weights = np.where(present, face.points[:, 0, 2].astype(np.float64), 0.0)
    # Rows of nobody are given the shape of somebody; their weight is 0.
    points = np.where(present[:, None, None], face.points, face.points[int(np.argmax(present))])
    measured = measures(points[..., :2].astype(np.float64))
    place, speed, change, known = smooth_path(face.times_s, measured, weights, at_s, sigma_s=SIGMA_S)
    origin = np.median(place[known, :2], axis=0) if known.any() else np.zeros(2)
    columns = [
        place[:, :2] - origin,
        np.clip(speed[:, :2], -FASTEST, FASTEST),
        braking(speed[:, 1], change[:, 1]) / BRAKING_UNIT,
        place[:, 2:5],
        np.clip(speed[:, 2:4], -FASTEST, FASTEST),
        place[:, 5:12],
        np.clip(speed[:, 11], -FASTEST, FASTEST),
        place[:, 12:],
    ]
    values = np.where(known[:, None], np.column_stack(columns), 0.0)
    return values.astype(np.float32), known


def expression(face: Landmarks) -> NDArray[np.float32]:
    """How far brows, lids and mouth are from rest, float32 [n] in face sizes; NaN where no face is seen.

    The root of the sum of the squares of brows, lids' and mouth's opening, mouth's width and smile, each less its
    median over the clip.
    """
    away = np.full(len(face.times_s), np.nan, np.float32)
    if face.present.any():
        measured = measures(face.points[face.present, :, :2].astype(np.float64))[:, _EXPRESSIVE]
        away[face.present] = np.sqrt(((measured - np.median(measured, axis=0)) ** 2).sum(axis=1))
    return away


def tells_expression(face: Landmarks) -> Mapping[str, float]:
    """`expressiveness` of the last frame, if it has a face; rest are the medians over those that are kept."""
    last = float(expression(face)[-1])
    return {} if np.isnan(last) else {"expressiveness": last}


def measures(points: Floats) -> Floats:
    """What a face does [n, 14] from landmarks [n, 478, 2] in pixels.

    Head x and y, yaw, pitch, roll (radians), brows (right, left), lids (right, left), eyes' x and y, mouth's
    opening, its width, smile.
    """
    across = points[:, LEFT_EYE[0]] - points[:, RIGHT_EYE[0]]
    roll = np.arctan2(across[:, 1], across[:, 0])
    eyes = (points[:, LEFT_EYE[0]] + points[:, RIGHT_EYE[0]]) / 2
    nose = points[:, UNDER_NOSE] - points[:, BRIDGE]
    size = np.maximum(np.sqrt((across**2).sum(axis=1) + (nose**2).sum(axis=1)), 1e-6)
    cos, sin = np.cos(roll), np.sin(roll)
    turned = np.stack([np.stack([cos, sin], axis=1), np.stack([-sin, cos], axis=1)], axis=1)
    level = np.einsum("nij,nkj->nki", turned, points - eyes[:, None]) / size[:, None, None]
    head = (eyes + points[:, NOSE_TIP]) / 2 / np.median(size)
    yaw = level[:, NOSE_TIP, 0]
    pitch = level[:, NOSE_TIP, 1]
    brows = [
        level[:, lids[2], 1] - level[:, list(brow), 1].mean(axis=1)
        for lids, brow in ((RIGHT_EYE, RIGHT_BROW), (LEFT_EYE, LEFT_BROW))
    ]
    open_, look = [], []
    for corners, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        outer, inner, upper, lower = (level[:, number] for number in corners)
        width = np.maximum(np.abs(outer[:, 0] - inner[:, 0]), 1e-6)
        open_.append((lower[:, 1] - upper[:, 1]) / width)
        look.append((level[:, iris] - (outer + inner) / 2) / width[:, None])
    lips = level[:, LOWER_LIP, 1] - level[:, UPPER_LIP, 1]
    corners_y = (level[:, RIGHT_MOUTH, 1] + level[:, LEFT_MOUTH, 1]) / 2
    smile = (level[:, UPPER_LIP, 1] + level[:, LOWER_LIP, 1]) / 2 - corners_y
    wide = level[:, LEFT_MOUTH, 0] - level[:, RIGHT_MOUTH, 0]
    return np.column_stack([head, yaw, pitch, roll, *brows, *open_, (look[0] + look[1]) / 2, lips, wide, smile])
