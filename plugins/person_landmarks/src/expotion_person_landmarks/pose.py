"""The body: 33 landmarks in each frame, by the region that the frame before left behind.

Bazarevsky et al. 2020 (BlazePose): people are looked for once; after that the landmarks of one frame say where the
next one has to look, until the network says that nobody is there. The two landmarks that span the region are
smoothed by a one-euro filter (Casiez et al. 2012) with MediaPipe's settings, the others are given as they come.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from expotion_person_landmarks.detection import PEOPLE, Detection, Finder
from expotion_person_landmarks.landmarks import N_POSE
from expotion_person_landmarks.models import Network
from expotion_person_landmarks.regions import Image, Points, Region, around_circle

FILES = ("pose_detection.tflite", "pose_landmark_full.tflite")
SIDE = 256
SCALE = 1.25
"""The region over the circle around the body."""
PRESENT = 0.5
N_OUT = 39
CENTRE, RIM = 33, 34
"""Landmarks beyond the body's own: the middle of the circle around it and the point above."""
KERNEL = 4
"""Heat map cells on each side of a landmark that place it more finely."""
MIN_HEAT = 0.5
MIN_CUTOFF_HZ, BETA, SPEED_CUTOFF_HZ = 0.01, 10.0, 1.0


class PoseTracker:
    """Follows one person: a `Region` per frame, made by the frame before or by looking for people."""

    def __init__(self) -> None:
        self.finder = Finder(PEOPLE)
        self.network = Network(FILES[1])
        self._circle = Circle()

    def find(self, frame: Image) -> list[Region]:
        """The regions of everybody in a picture, the surest first."""
        self._circle = Circle()
        return [region_of(found) for found in self.finder(frame)]

    def follow(self, frame: Image, region: Region, time_s: float) -> tuple[Points, Region] | None:
        """Landmarks [33, 3] (pixels, visibility) and the next frame's region; None where nobody is in it."""
        outputs = self.network(region.cut(frame, SIDE))
        raw = _output(outputs, N_OUT * 5).reshape(N_OUT, 5).astype(np.float64)
        if float(_output(outputs, 1)[0]) < PRESENT:
            return None
        heat = next(values for values in outputs if values.ndim == 4 and values.shape[-1] == N_OUT)[0]
        places = refined(raw[: RIM + 1, :2], heat)
        pixels = region.to_picture(places, SIDE)
        centre, rim = self._circle(pixels[CENTRE : RIM + 1], time_s)
        visibility = 1.0 / (1.0 + np.exp(-raw[:N_POSE, 3]))
        return np.column_stack([pixels[:N_POSE], visibility]), around_circle(centre, rim, SCALE)


def region_of(found: Detection) -> Region:
    """The region of a detected person: the circle around the whole body."""
    return around_circle(found.keypoints[0], found.keypoints[1], SCALE)


def refined(places: Points, heat: NDArray[np.float32]) -> Points:
    """Landmarks [k, 2] in network pixels, moved to the middle of the heat around them.

    `heat` [h, w, 39] holds logits. A landmark whose heat is below MIN_HEAT everywhere near stays where it is.
    """
    height, width = heat.shape[:2]
    result = places.copy()
    for number, (x, y) in enumerate(places / SIDE):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        left, top = max(0, column - KERNEL), max(0, row - KERNEL)
        near = 1.0 / (
            1.0 + np.exp(-heat[top : row + KERNEL + 1, left : column + KERNEL + 1, number].astype(np.float64))
        )
        total = float(near.sum())
        if near.max() >= MIN_HEAT and total > 0:
            across = float((near.sum(axis=0) * (left + np.arange(near.shape[1]))).sum()) / total
            down = float((near.sum(axis=1) * (top + np.arange(near.shape[0]))).sum()) / total
            result[number] = across / width * SIDE, down / height * SIDE
    return result


class Circle:
    """The two points that span the region [2, 2] through a one-euro filter; speeds count in circles' sizes."""

    def __init__(self) -> None:
        self._time_s = 0.0
        self._raw: Points | None = None
        self._speed = np.zeros((2, 2))
        self._smooth = np.zeros((2, 2))

    def __call__(self, points: Points, time_s: float) -> Points:
        """The filtered points at `time_s`, later than the time before."""
        if self._raw is None:
            self._smooth = points
        else:
            step_s = max(time_s - self._time_s, 1e-6)
            size = 2 * math.hypot(*(points[1] - points[0]))
            speed = (points - self._raw) / max(size, 1e-6) / step_s
            self._speed = self._speed + _share(SPEED_CUTOFF_HZ, step_s) * (speed - self._speed)
            share = _share(MIN_CUTOFF_HZ + BETA * np.abs(self._speed), step_s)
            self._smooth = self._smooth + share * (points - self._smooth)
        self._raw, self._time_s = points, time_s
        return self._smooth


def _share(cutoff_hz: Points | float, step_s: float) -> Points:
    """What a low-pass filter of this cut-off takes of a new value."""
    return np.asarray(1.0 / (1.0 + 1.0 / (2 * math.pi * cutoff_hz) / step_s))


def _output(outputs: list[NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    """The output of this many values, flat."""
    return next(values for values in outputs if values.size == size).reshape(-1)
