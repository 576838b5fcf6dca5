"""How much moves in a picture, and where: quantity of motion and the motiongram of gesture research.

    D_k(x, y) = |I(t_k) - I(t_k - 1/25 s)|, 0 where it is below THRESHOLD
    quantity of motion: share of the pixels whose D is not 0;  motiongram: mean of D over each row of pixels

I is the grey picture, 0..1, at 96 pixels. A column of the motiongram is a moment, so time runs along it and height
is XX
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Video, read_ahead

RATE_HZ = 25.0
SIDE_PX = 96
THRESHOLD = 0.04
"""Differences below it are the camera's noise."""
_CHUNK = 250


@dataclass(frozen=True)
class Motion:
    """`quantity` float32 [n], 0..1, and `rows` float32 [height, n], 0..1, at `times_s` [n]."""

    times_s: NDArray[np.float64]
    quantity: NDArray[np.float32]
    rows: NDArray[np.float32]


def motion_of(video: Video, duration_s: float) -> Motion:
    """The motion of a picture; a single moment without any where the picture is shorter than two."""
    import cv2  # noqa: PLC0415 - only where a picture is looked at

    times_s = np.arange(max(1, int(duration_s * RATE_HZ))) / RATE_HZ
    read_ahead(video, times_s, shorter_side=SIDE_PX)
    quantity, rows = [], []
    before = None
    for start in range(0, len(times_s), _CHUNK):
        for frame in video.frames_at(times_s[start : start + _CHUNK], shorter_side=SIDE_PX):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255.0
            change = np.zeros_like(grey) if before is None else np.abs(grey - before)
            change[change < THRESHOLD] = 0.0
            quantity.append(float((change > 0).mean()))
            rows.append(change.mean(axis=1))
            before = grey
    around = np.pad(np.array(quantity, np.float32), 1, mode="edge")
    smoothed = np.convolve(around, np.array([0.25, 0.5, 0.25], np.float32), mode="valid").astype(np.float32)
    return Motion(times_s, smoothed, np.stack(rows, axis=1))
