"""Motion to be drawn over the picture: OpenCV's DIS optical flow on a coarse grid."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from expotion.contracts import Overlay, Video, read_ahead

RATE_HZ = 5.0
SIDE_PX = 128
COLUMNS = 16
APART_S = 0.08


def flow_overlay(video: Video, note: str) -> Overlay | None:
    """Flow five times a second, each between pictures about 0.08 s apart; None for a video of one picture."""
    frame_times_s = video.frame_times_s
    end_s = min(float(frame_times_s[-1]), video.decodable_until_s) if len(frame_times_s) else 0.0
    at_s = np.arange(0.0, max(0.0, end_s - APART_S), 1.0 / RATE_HZ)
    if len(frame_times_s) < 2 or not len(at_s):
        return None
    pairs_s = np.stack([at_s, at_s + APART_S], axis=1).reshape(-1)
    read_ahead(video, pairs_s, shorter_side=SIDE_PX)
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = video.size
    rows = max(1, round(COLUMNS * height / width))
    grids, times_s = [], []
    for time_s in at_s:
        shown = np.searchsorted(frame_times_s, [time_s + 1e-6, time_s + APART_S + 1e-6], side="right") - 1
        first, second = np.clip(shown, 0, len(frame_times_s) - 1)
        if first == second:
            continue
        a, b = video.frames_at(frame_times_s[[first, second]] + 1e-6, shorter_side=SIDE_PX)
        flow = method.calc(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), cv2.cvtColor(b, cv2.COLOR_RGB2GRAY), None)
        apart_s = frame_times_s[second] - frame_times_s[first]
        grid = cv2.resize(flow, (COLUMNS, rows), interpolation=cv2.INTER_AREA) / (flow.shape[1] * apart_s)
        grids.append(grid.astype(np.float32))
        times_s.append(float(time_s))
    if not grids:
        return None
    return Overlay(note, vector_times_s=np.array(times_s), vectors=np.stack(grids))
