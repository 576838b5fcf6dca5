"""Small drawing tools over OpenCV: smooth outlines, tapered limbs, soft layers. Colours are RGB."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion_conductor.person import Colour

Floats = NDArray[np.float64]

SHIFT_BITS = 4
"""Fixed-point fraction of the coordinates that OpenCV draws at: 1/16 pixel."""


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (< 1) or lighter (> 1, towards white)."""
    if factor <= 1.0:
        red, green, blue = (int(channel * factor) for channel in colour)
    else:
        red, green, blue = (int(channel + (255 - channel) * min(factor - 1.0, 1.0)) for channel in colour)
    return red, green, blue


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with `share` 0..1 of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def smooth_closed(points: Sequence[tuple[float, float]], per_edge: int = 5) -> Floats:
    """Closed Catmull-Rom curve through `points` (at least three): [len(points) * per_edge, 2]."""
    p = np.asarray(points, dtype=np.float64)
    before, after, beyond = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)
    t = (np.arange(per_edge) / per_edge)[None, :, None]
    a, b, c, d = before[:, None], p[:, None], after[:, None], beyond[:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


def mirrored(right_half: Sequence[tuple[float, float]], per_edge: int = 5) -> Floats:
    """Smooth outline that is symmetric about x = 0, from its right half listed from top to bottom."""
    left = [(-x, y) for x, y in reversed(right_half) if abs(x) > 1e-9]
    return smooth_closed([*right_half, *left], per_edge)


def ellipse(x: float, y: float, rx: float, ry: float, *, n: int = 20, angle: float = 0.0) -> Floats:
    """Outline of an ellipse [n, 2]."""
    t = np.arange(n) * (2 * np.pi / n)
    ex, ey = rx * np.cos(t), ry * np.sin(t)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + cos * ex - sin * ey, y + sin * ex + cos * ey], axis=1)


def capsule(start: Floats, end: Floats, start_radius: float, end_radius: float, n_round: int = 7) -> Floats:
    """Tapered limbs with round ends, from `start` to `end` [n, 2]: outlines [n, 2 * n_round, 2]."""
    delta = end - start
    angle = np.arctan2(delta[:, 1], delta[:, 0])[:, None]
    sweep = np.linspace(-np.pi / 2, np.pi / 2, n_round)[None, :]
    tip = np.stack([np.cos(angle + sweep), np.sin(angle + sweep)], axis=-1) * end_radius + end[:, None]
    root = np.stack([np.cos(angle + np.pi + sweep), np.sin(angle + np.pi + sweep)], axis=-1)
    return np.concatenate([tip, root * start_radius + start[:, None]], axis=1)


def fixed(points: Floats) -> NDArray[np.int32]:
    """Pixels to OpenCV's fixed point."""
    return np.rint(points * (1 << SHIFT_BITS)).astype(np.int32)


def fill(image: NDArray[np.uint8], points: NDArray[np.int32], colour: Colour) -> None:
    """Fill a polygon [k, 2] in fixed point, anti-aliased."""
    cv2.fillPoly(image, [points], colour, cv2.LINE_AA, SHIFT_BITS)


def fill_convex(image: NDArray[np.uint8], points: NDArray[np.int32], colour: Colour) -> None:
    """Fill a convex polygon [k, 2] in fixed point, anti-aliased; faster than `fill`."""
    cv2.fillConvexPoly(image, points, colour, cv2.LINE_AA, SHIFT_BITS)


def line(image: NDArray[np.uint8], points: NDArray[np.int32], colour: Colour, closed: bool = False) -> None:
    """A one pixel wide polyline [k, 2] in fixed point, anti-aliased."""
    cv2.polylines(image, [points], closed, colour, 1, cv2.LINE_AA, SHIFT_BITS)


class Layer:
    """A picture with transparency in the making, in floating point; `transform` maps drawing units to pixels.

    `colour` float32 [H, W, 3] 0..255, `alpha` float32 [H, W] 0..1.
    """

    def __init__(self, height: int, width: int, scale: float, origin: tuple[float, float]) -> None:
        self.colour = np.zeros((height, width, 3), np.float32)
        self.alpha = np.zeros((height, width), np.float32)
        self.scale = scale
        self.origin = origin

    def mask(self, points: Floats, blur: float = 0.0) -> NDArray[np.float32]:
        """Coverage 0..1 of a polygon in drawing units, its edge blurred by `blur` units."""
        mask = np.zeros(self.alpha.shape, np.uint8)
        pixels = (points + np.asarray(self.origin)) * self.scale - 0.5
        cv2.fillPoly(mask, [fixed(pixels)], (255,), cv2.LINE_AA, SHIFT_BITS)
        if blur > 0:
            sigma = blur * self.scale
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.uint8)
        return np.asarray(mask, np.float32) / np.float32(255)

    def add(self, points: Floats, colour: Colour, strength: float = 1.0, blur: float = 0.0) -> None:
        """Paint an opaque shape (adds to the coverage)."""
        mask = self.mask(points, blur) * np.float32(strength)
        self.colour += (np.asarray(colour, np.float32) - self.colour) * mask[..., None]
        self.alpha = np.maximum(self.alpha, mask)

    def tone(self, points: Floats, colour: Colour, strength: float, blur: float) -> None:
        """Tint what is there already: a soft light or shadow that leaves the coverage alone."""
        mask = self.mask(points, blur) * np.float32(strength)
        self.colour += (np.asarray(colour, np.float32) - self.colour) * mask[..., None]
