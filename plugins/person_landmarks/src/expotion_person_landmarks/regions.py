"""Regions of the picture as a network sees them: rotated squares, cut out, and landmarks brought back.

A region's corners fall on the corners of the network's picture, as MediaPipe has it: pixel u of `side` shows the
picture at corner + u / side of the region, without half a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """A square of side `side` pixels around (x, y), turned by `angle` radians (clockwise in the picture)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def matrix(self, size: int) -> Points:
        """Network pixels (u, v) of a picture [size, size] to the picture's: [2, 3]."""
        step = self.side / size
        cos, sin = step * math.cos(self.angle), step * math.sin(self.angle)
        half = size / 2
        return np.array(
            [[cos, -sin, self.x - half * (cos - sin)], [sin, cos, self.y - half * (sin + cos)]], dtype=np.float64
        )

    def cut(self, frame: Image, size: int, *, low: float = 0.0, padded: bool = False) -> NDArray[np.float32]:
        """The region as a network's input, float32 [1, size, size, 3] in low..1.

        Outside the picture: black where `padded`, else the picture's edge.
        """
        border = cv2.BORDER_CONSTANT if padded else cv2.BORDER_REPLICATE
        turned = (self.x, self.y), (self.side, self.side), math.degrees(self.angle)
        corners = np.array([[0, size], [0, 0], [size, 0], [size, size]], np.float32)
        projection = cv2.getPerspectiveTransform(cv2.boxPoints(turned), corners)
        cut = cv2.warpPerspective(frame, projection, (size, size), flags=cv2.INTER_LINEAR, borderMode=border)
        return (cut.astype(np.float32) * np.float32((1 - low) / 255.0) + np.float32(low))[None]

    def to_picture(self, points: Points, size: int) -> Points:
        """Points [k, 2] in network pixels to pixels of the picture."""
        matrix = self.matrix(size)
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def whole(frame_size: tuple[int, int]) -> Region:
    """The square around a whole picture of (height, width): what detectors look at, letterboxed."""
    height, width = frame_size
    return Region(width / 2, height / 2, float(max(height, width)))


def upright(start: Points, end: Points, target: float) -> float:
    """The angle that brings the direction from `start` to `end` to `target` radians (counted upwards), -pi..pi."""
    angle = target - math.atan2(-(end[1] - start[1]), end[0] - start[0])
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def around_circle(centre: Points, rim: Points, scale: float) -> Region:
    """The square around a circle given by its centre and the point above it: a body's region."""
    radius = math.hypot(rim[0] - centre[0], rim[1] - centre[1])
    return Region(float(centre[0]), float(centre[1]), 2 * radius * scale, upright(centre, rim, math.pi / 2))


def around_points(points: Points, start: Points, end: Points, scale: float) -> Region:
    """The square around the upright box of points [k, 2], turned so that start to end is level: a face's region."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = float(max(high - low)) * scale
    return Region(float(low[0] + high[0]) / 2, float(low[1] + high[1]) / 2, side, upright(start, end, 0.0))
