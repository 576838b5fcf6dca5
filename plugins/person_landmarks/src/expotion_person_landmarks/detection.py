"""People and faces looked for in a whole picture: single-shot detectors with fixed anchors.

The sizes are those of MediaPipe's models (Bazarevsky et al. 2019, BlazeFace; 2020, BlazePose): each cell of a grid
has anchors at its middle, all of one nominal size, so a box and its keypoints are offsets in network pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_person_landmarks.models import Network
from expotion_person_landmarks.regions import Image, Points, whole

MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
"""Boxes that overlap the best one by more (intersection over union) are the same person."""
LARGEST_LOGIT = 100.0


@dataclass(frozen=True)
class Detector:
    """One detector: its file, the side of its input, (cells along a side, anchors in a cell), keypoints per box."""

    model: str
    side: int
    grids: tuple[tuple[int, int], ...]
    n_keypoints: int


PEOPLE = Detector("pose_detection.tflite", 224, ((28, 2), (14, 2), (7, 6)), 4)
"""Keypoints: the middle of the hips, a point above it on the circle around the body, and the same of the trunk."""
FACES = Detector("face_detection_short_range.tflite", 128, ((16, 2), (8, 6)), 6)
"""Keypoints: right eye, left eye (the person's own), nose, mouth, right ear, left ear."""


@dataclass(frozen=True)
class Detection:
    """Somebody found: score 0..1, box (x0, y0, x1, y1) and keypoints [k, 2] in pixels of the picture."""

    score: float
    box: Points
    keypoints: Points


def anchors(grids: tuple[tuple[int, int], ...]) -> Points:
    """Middles of all cells, as often as they have anchors, row by row: [n, 2] in 0..1."""
    parts = []
    for cells, per_cell in grids:
        middle = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middle, middle, indexing="ij")
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(parts)


class Finder:
    """Looks for people (or faces) in one picture."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.network = Network(detector.model)
        self.anchors = anchors(detector.grids)

    def __call__(self, frame: Image) -> list[Detection]:
        """Everybody in a picture uint8 [H, W, 3], the surest first."""
        side = self.detector.side
        region = whole(frame.shape[:2])
        found = self.network(region.cut(frame, side, low=-1.0, padded=True))
        raw = next(values for values in found if values.shape[-1] > 1)[0].astype(np.float64)
        logits = next(values for values in found if values.shape[-1] == 1)[0, :, 0].astype(np.float64)
        score = 1.0 / (1.0 + np.exp(-np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT)))
        sure = score >= MIN_SCORE
        middle = raw[sure, :2] + self.anchors[sure] * side
        half = raw[sure, 2:4] / 2
        keypoints = raw[sure, 4:].reshape(-1, self.detector.n_keypoints, 2) + self.anchors[sure, None] * side
        corners = np.concatenate([middle - half, middle + half], axis=1)
        values = np.concatenate([corners.reshape(-1, 2, 2), keypoints], axis=1)
        return [
            Detection(top, region.to_picture(places[:2], side).reshape(4), region.to_picture(places[2:], side))
            for top, places in merged(score[sure], values)
        ]


def merged(score: NDArray[np.float64], places: Points) -> list[tuple[float, Points]]:
    """One entry per person, the surest first: boxes that overlap are averaged by their scores.

    `places` [n, 2 + k, 2] are a box's corners and keypoints; the score is that of the surest box.
    """
    left = np.argsort(-score, kind="stable")
    result = []
    while len(left):
        alike = overlap(places[left[0], :2], places[left, :2]) > MAX_OVERLAP
        alike[0] = True
        same = left[alike]
        weights = score[same] / score[same].sum()
        result.append((float(score[left[0]]), np.einsum("n,nkd->kd", weights, places[same])))
        left = left[~alike]
    return result


def overlap(one: Points, others: Points) -> Points:
    """Intersection over union [n] of a box [2, 2] (corners) with boxes [n, 2, 2]."""
    meet = np.minimum(one[1], others[:, 1]) - np.maximum(one[0], others[:, 0])
    shared = np.prod(np.maximum(meet, 0.0), axis=1)
    area = np.prod(np.maximum(others[:, 1] - others[:, 0], 0.0), axis=1)
    return np.asarray(shared / np.maximum(area + np.prod(np.maximum(one[1] - one[0], 0.0)) - shared, 1e-12))
