"""The landmarks as they are drawn over the picture: arms and trunk, outlines of the face."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from expotion.contracts import Overlay
from expotion_person_landmarks.events import movement
from expotion_person_landmarks.face_features import expression
from expotion_person_landmarks.landmarks import SEEN, SKELETON, Landmarks

FACE_LINES = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149,
     150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246, 33),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466, 263),
    (70, 63, 105, 66, 107), (300, 293, 334, 296, 336),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185, 61),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78),
    (469, 470, 471, 472, 469), (474, 475, 476, 477, 474),
)  # fmt: skip
"""Landmarks of the face's outline, eyes, brows, lips and irises, in the order in which a line joins them."""


def body_overlay(body: Landmarks) -> Overlay:
    """The skeleton, what is not seen left out, and the movement's events; `movement_beat` draws the beats."""
    note = "the body's landmarks; the ring lights up where downward movement is stopped"
    drawn = _drawn(body, SKELETON, note)
    if not len(body.times_s):
        return drawn
    moves = movement(body.points, body.times_s, float(body.times_s[-1]))
    return replace(drawn, events_s=moves.events_s)


def face_overlay(face: Landmarks) -> Overlay:
    """Outlines of the face, and its expression."""
    pairs = tuple(pair for line in FACE_LINES for pair in pairwise(line))
    drawn = _drawn(face, pairs, "outlines of the face by the landmarks that person_face sees")
    return replace(drawn, expression_times_s=face.times_s, expression=expression(face))


def _drawn(found: Landmarks, pairs: tuple[tuple[int, int], ...], note: str) -> Overlay:
    numbers = sorted({number for pair in pairs for number in pair})
    place = {number: index for index, number in enumerate(numbers)}
    points = found.points[:, numbers]
    height, width = found.size
    xy = np.asarray(points[..., :2] / np.array([max(width, 1), max(height, 1)]), np.float32)
    xy[points[..., 2] < SEEN] = np.nan
    lines = tuple((place[a], place[b]) for a, b in pairs)
    return Overlay(note, point_times_s=found.times_s, points=xy, lines=lines)
