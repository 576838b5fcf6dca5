"""Landmarks over a clip: what every other part of this plugin, and whoever draws them, works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_POSE, N_FACE = 33, 478
SEEN = 0.5
"""A landmark whose visibility is at least this counts as seen."""

NOSE, LEFT_EAR, RIGHT_EAR = 0, 7, 8
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = 11, 12, 13, 14, 15, 16
LEFT_HIP, RIGHT_HIP = 23, 24
"""Numbers of the body's landmarks, as MediaPipe gives them; left and right are the person's own."""

SKELETON = (
    (LEFT_SHOULDER, RIGHT_SHOULDER),
    (LEFT_SHOULDER, LEFT_ELBOW), (LEFT_ELBOW, LEFT_WRIST),
    (RIGHT_SHOULDER, RIGHT_ELBOW), (RIGHT_ELBOW, RIGHT_WRIST),
    (LEFT_SHOULDER, LEFT_HIP), (RIGHT_SHOULDER, RIGHT_HIP), (LEFT_HIP, RIGHT_HIP),
    (LEFT_WRIST, 19), (RIGHT_WRIST, 20), (NOSE, LEFT_EAR), (NOSE, RIGHT_EAR),
)  # fmt: skip
"""Pairs of body landmarks that a drawing joins: arms and trunk, hands, nose to ears."""


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one person through a clip.

    `points` float32 [n, k, 3]: x and y in pixels of the upright picture, then visibility 0..1; all 0 in a frame in
    which nobody was found. `times_s` float64 [n]: seconds from the clip's start, increasing. `size` is (height,
    width) of the picture. k is 33 for a body (MediaPipe's order) and 478 for a face (468, then 5 for each iris, the
    person's right eye first). `n_people` [n] counts whoever was found where people were looked for, else -1.
    """

    times_s: NDArray[np.float64]
    points: NDArray[np.float32]
    size: tuple[int, int]
    n_people: NDArray[np.int64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Frames [n] in which the person was found."""
        return np.asarray(self.points.any(axis=(1, 2)))

    def seen(self, *numbers: int) -> NDArray[np.bool_]:
        """Frames [n] in which all landmarks of these numbers are seen."""
        return np.asarray((self.points[:, list(numbers), 2] >= SEEN).all(axis=1))


def shoulder_width_px(body: Landmarks) -> float:
    """Median distance of the shoulders over the clip in pixels; NaN where they are never both seen.

    One number for a clip: a person who turns must not look as if the arms grew.
    """
    both = body.seen(LEFT_SHOULDER, RIGHT_SHOULDER)
    across = body.points[both, LEFT_SHOULDER, :2] - body.points[both, RIGHT_SHOULDER, :2]
    return float(np.median(np.hypot(across[:, 0], across[:, 1]))) if both.any() else float("nan")
