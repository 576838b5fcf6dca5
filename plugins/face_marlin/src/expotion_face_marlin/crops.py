"""Square face crops: sub-pixel, bilinear, black outside the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def crop_squares(
    frames: NDArray[np.uint8], centre: NDArray[np.float64], side: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """RGB frames uint8 [n, H, W, 3] to crops uint8 [n, size_h, size_w, 3].

    `centre` [n, 2] (x, y) and `side` [n] are in units of the frame's shorter side. Frames should be about as
    fine as the crop: pixels are interpolated, not averaged.
    """
    height, width = size
    shorter = min(frames.shape[1:3])
    crops = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for i, frame in enumerate(frames):
        side_px = side[i] * shorter
        step_x, step_y = side_px / width, side_px / height
        left, top = centre[i] * shorter - side_px / 2
        # Pixel centres: crop pixel u shows the frame at left + (u + 1/2) step - 1/2.
        matrix = np.array(
            [[step_x, 0.0, left + step_x / 2 - 0.5], [0.0, step_y, top + step_y / 2 - 0.5]], dtype=np.float64
        )
        crops[i] = cv2.warpAffine(
            frame, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0
        )
    return crops


def useful_shorter_side(face_side: float, crop_px: int, native_px: int) -> int | None:
    """Shorter side in pixels at which a face of this size is a little finer than the crop; None: as it is."""
    wanted = int(np.ceil(1.25 * crop_px / max(face_side, 1e-3)))
    return None if wanted >= 0.8 * native_px else wanted
