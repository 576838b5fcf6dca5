"""Movement without landmarks: the braking of downward optical flow, where no network knows where the body is.

Dense flow (DIS, Kroeger et al. 2016) between the frames as they come, at 96 pixels, averaged over 6 x 6 cells; the
braking of a cell is its upward acceleration while it moves down, by the regression of `smoothing.py`, and the
movement's the mean over the cells (Davis and Agrawala 2018, 'Visual rhythm and beat', for one direction). Whatever
moves in the picture counts, a camera that shakes as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from expotion.beats import FRAME_RATE_HZ
from expotion.contracts import Clip, Video, read_ahead
from expotion_person_landmarks.events import EDGE_S, WINDOW_S, Floats, Movement, made_of
from expotion_person_landmarks.follow import thinned
from expotion_person_landmarks.smoothing import MAX_GAP_S, smooth_path

SIDE_PX = 96
CELLS = 6
SHOULDER_WIDTHS = 40.0
"""What a picture height of mean flow stands for: on the rendered people braking is then as large as landmarks'."""
_STILL_PX = 1e-3  # mean flow per frame below which nothing moves
_AT_ONCE = 250


def flow_movement(clip: Clip) -> Movement:
    """The movement in a clip's whole picture; not known anywhere where nothing moves or there is no picture."""
    at_s = np.arange(int(clip.duration_s * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    times_s, down = _downward(clip.video) if clip.video is not None else (np.zeros(0), np.zeros((0, CELLS**2)))
    if len(times_s) < 3:
        return made_of(np.zeros(len(at_s)), np.zeros(len(at_s)), np.zeros(len(at_s), dtype=bool))
    # Flow is a speed already: its path is the speed, and that one's speed the change.
    speed, change, _, known = smooth_path(times_s, down, np.ones(len(times_s)), at_s, sigma_s=WINDOW_S)
    known &= (at_s >= times_s[0] + EDGE_S) & (at_s <= times_s[-1] - EDGE_S)
    braking = np.where(speed > 0, np.maximum(-change, 0.0), 0.0).mean(axis=1)
    return made_of(np.where(known, braking, 0.0), np.where(known, (speed**2).mean(axis=1), 0.0), known)


def _downward(video: Video) -> tuple[Floats, Floats]:
    """Mean downward flow of each cell in shoulder widths per second [n, 36], midway between the frames [n]."""
    import cv2  # noqa: PLC0415 - only where a picture is looked at

    times_s = thinned(video.frame_times_s[video.frame_times_s < video.decodable_until_s])
    read_ahead(video, times_s, shorter_side=SIDE_PX)
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    before: Any = None
    rows, middles, moved = [], [], []
    for start in range(0, len(times_s), _AT_ONCE):
        several = times_s[start : start + _AT_ONCE]
        for time_s, frame in zip(several, video.frames_at(several, shorter_side=SIDE_PX), strict=True):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            if before is not None and time_s - before[0] <= MAX_GAP_S:
                flow = engine.calc(before[1], grey, None)
                moved.append(float(np.abs(flow).mean()))
                cells = cv2.resize(flow[..., 1], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
                rows.append(cells.ravel() * SHOULDER_WIDTHS / (len(grey) * (time_s - before[0])))
                middles.append((time_s + before[0]) / 2)
            before = time_s, grey
    if not rows or float(np.mean(moved)) < _STILL_PX:
        return np.zeros(0), np.zeros((0, CELLS**2))
    return np.array(middles), np.array(rows, dtype=np.float64)
