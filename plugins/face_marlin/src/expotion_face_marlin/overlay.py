"""The face's square as boxes to be drawn over the picture."""

from __future__ import annotations

import numpy as np

from expotion.contracts import Overlay, Video
from expotion_face_marlin.path import FacePath


def face_boxes(video: Video, path: FacePath, margin: float) -> Overlay:
    """A box per frame (at most 30 a second), NaN where there is no face."""
    times_s = video.frame_times_s
    keep = np.unique(np.floor(times_s * 30.0 + 1e-6).astype(np.int64), return_index=True)[1]
    times_s = times_s[keep]
    centre, side, valid = path.at(times_s)
    half = side[:, None] * (0.5 + margin)
    # The path is in units of the shorter side; an overlay in fractions of width and height.
    scale = np.array(video.size[::-1], dtype=np.float64) / min(video.size)
    corners = np.concatenate([(centre - half) / scale, (centre + half) / scale], axis=1)
    corners[~valid] = np.nan
    return Overlay("the square that face_marlin crops", boxes=np.concatenate([times_s[:, None], corners], axis=1))
