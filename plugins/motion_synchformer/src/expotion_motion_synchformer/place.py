"""Where something moves: the square that the tiny encoder looks at, found anew in every segment.

The encoder's picture is small and it knows a person of one size, so it looks at the part of the frame that moves.
With g the grey pictures at half size,

    E(p) = mean_t |g_(t + LAG)(p) - g_t(p)|;    w(p) = max(0, E(p) - QUIET_GAIN q - QUIET_LEVEL) + EVEN

where E is averaged over BLUR x BLUR pixels and q is the level of the stillest third of the picture (sensor noise,
a shaking camera). The square is centred between the quantiles SHARE and 1 - SHARE of w's sums over rows and
columns, and MARGIN times as wide as the wider pair is apart; EVEN makes it the whole frame where nothing moves. A
segment knows no other: a clip, any part of it and a live picture of one segment's length are looked at alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LAG = 2
QUIET_PART, QUIET_GAIN, QUIET_LEVEL = 1 / 3, 1.3, 0.3
BLUR = 5
EVEN = 0.003
SHARE, MARGIN = 0.04, 1.15
SMALLEST = 0.3
"""Sides of the picture: a square is no smaller."""


@dataclass(frozen=True)
class Square:
    """A part of a picture, whole pixels."""

    left: int
    top: int
    side: int


def moving_square(pictures: Image) -> Square:
    """The square of the pictures uint8 [F, L, L, 3] of one segment in which something moves."""
    length = pictures.shape[1]
    grey = np.stack([_grey(picture) for picture in pictures])  # [F, L / 2, L / 2]
    energy = np.abs(grey[LAG:] - grey[:-LAG]).mean(axis=0) if len(grey) > LAG else np.zeros_like(grey[0])
    energy = cv2.blur(energy, (BLUR, BLUR))
    quiet = QUIET_GAIN * float(np.quantile(energy, QUIET_PART)) + QUIET_LEVEL
    weight = np.maximum(energy - quiet, 0.0) + EVEN
    (left, right), (top, bottom) = _span(weight.sum(axis=0)), _span(weight.sum(axis=1))
    side = float(np.clip(MARGIN * max(right - left, bottom - top), SMALLEST, 1.0))
    return square_at((left + right) / 2, (top + bottom) / 2, side, length)


def square_at(x: float, y: float, side: float, length: int) -> Square:
    """The square of this middle and side, parts of a picture of `length` pixels, moved to where it fits in."""
    pixels = int(np.clip(round(side * length), 1, length))
    left, top = (int(np.clip(round(at * length - pixels / 2), 0, length - pixels)) for at in (x, y))
    return Square(left, top, pixels)


def look_at(pictures: Image, square: Square, image: int) -> Image:
    """The square of pictures uint8 [F, L, L, 3] in the encoder's size, uint8 [F, image, image, 3]."""
    part = pictures[:, square.top : square.top + square.side, square.left : square.left + square.side]
    method = cv2.INTER_AREA if square.side >= image else cv2.INTER_LINEAR
    return np.stack([cv2.resize(picture, (image, image), interpolation=method) for picture in part])


def _grey(picture: Image) -> NDArray[np.float32]:
    half = picture.shape[0] // 2
    small = cv2.resize(picture, (half, half), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def _span(weight: NDArray[np.float32]) -> tuple[float, float]:
    """Where SHARE of the weight lies below and above, as parts of the whole length."""
    total = np.concatenate([[0.0], np.cumsum(weight, dtype=np.float64)])
    at = np.interp([SHARE * total[-1], (1.0 - SHARE) * total[-1]], total, np.arange(len(total)) / len(weight))
    return float(at[0]), float(at[1])
