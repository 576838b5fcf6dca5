"""Motion beats of a picture: the moments at which downward movement is stopped.

Dense optical flow (DIS, Kroeger et al. 2016) of the picture at 96 pixels and 25 Hz, averaged over 6 x 6 cells and
smoothed over one picture (40 ms). In each cell the braking of downward movement is max(0, -dv/dt) where v, counted
downwards, is above 0; its mean over the cells has a peak where a hand or a foot lands: the conductor's ictus. This
is the visual impact of Davis and Agrawala (2018, 'Visual rhythm and beat') for one direction.

Why not minima of speed, the kinematic beats of the dance literature (Li et al. 2021): a conducting hand is slowest
at the top, between beats. On 24 clips of the conductor world (development seeds 5,000,100 to 5,000,123) the beats
of the true sound score 0.05 with them, below the 0.26 of another clip's sound; with braking in all directions 0.66
and 0.24; with this 0.87 and 0.25, and the beats come 8 ms early.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Video

RATE_HZ = 25.0
SIDE_PX = 96
_CELLS = 6
_SMOOTHING_FRAMES = 1.0
_PROMINENCE = 1.0  # of the envelope's standard deviation
_MIN_DISTANCE_FRAMES = 5  # 0.2 s: 300 beats per minute
_CHUNK = 250
_STILL_PX = 1e-3  # mean flow per frame below which nothing moves
_MEMO_SIZE = 512
_memo: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
_lock = threading.Lock()


def motion_beats(clip: Clip) -> NDArray[np.float64] | None:
    """Motion beats of a clip in seconds, float64 [b]; None without a picture. Remembered by the clip's content."""
    video = clip.video
    if video is None or not len(video.frame_times_s):
        return None
    key = clip.content_hash
    with _lock:
        if key in _memo:
            return _memo[key]
    end_s = min(clip.duration_s, video.decodable_until_s, float(video.frame_times_s[-1]) + 1 / RATE_HZ)
    found = beats_of_flow(cell_flow(video, end_s))
    with _lock:
        _memo[key] = found
        while len(_memo) > _MEMO_SIZE:
            _memo.popitem(last=False)
    return found


def cell_flow(video: Video, end_s: float) -> NDArray[np.float64]:
    """Mean flow of each cell between pictures 1/25 s apart, in pixels: float64 [n - 1, 6, 6, (right, down)]."""
    import cv2  # noqa: PLC0415 - only where a metric looks at the picture

    times_s = np.arange(0.0, max(end_s, 0.0), 1 / RATE_HZ)
    engine: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    previous = None
    rows = []
    for start in range(0, len(times_s), _CHUNK):
        for frame in video.frames_at(times_s[start : start + _CHUNK], shorter_side=SIDE_PX):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            if previous is not None:
                rows.append(_cell_means(engine.calc(previous, grey, None)))
            previous = grey
    return np.stack(rows) if rows else np.zeros((0, _CELLS, _CELLS, 2))


def beats_of_flow(flow: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times in seconds [b] at which downward flow [n, rows, columns, 2] is braked; row k is at (k + 1/2) / 25 s."""
    if len(flow) < 2 * _MIN_DISTANCE_FRAMES or float(np.abs(flow).mean()) < _STILL_PX:
        return np.zeros(0)
    from scipy.ndimage import gaussian_filter1d  # noqa: PLC0415
    from scipy.signal import find_peaks  # noqa: PLC0415

    down = gaussian_filter1d(flow[..., 1], _SMOOTHING_FRAMES, axis=0)
    braking = np.maximum(-np.gradient(down, axis=0), 0.0) * (down > 0)
    envelope = braking.mean(axis=(1, 2))
    spread = float(envelope.std())
    if spread <= 0:
        return np.zeros(0)
    peaks, _ = find_peaks(envelope / spread, prominence=_PROMINENCE, distance=_MIN_DISTANCE_FRAMES)
    return np.asarray((peaks + 0.5) / RATE_HZ, dtype=np.float64)


def _cell_means(flow: NDArray[np.float32]) -> NDArray[np.float64]:
    """Means of a flow field [H, W, 2] over 6 x 6 cells of nearly equal size."""
    height, width = flow.shape[:2]
    rows = np.linspace(0, height, _CELLS + 1).astype(int)[:-1]
    columns = np.linspace(0, width, _CELLS + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(flow.astype(np.float64), rows, axis=0), columns, axis=1)
    counts = np.diff([*rows, height])[:, None] * np.diff([*columns, width])[None, :]
    return np.asarray(sums / counts[..., None], dtype=np.float64)
