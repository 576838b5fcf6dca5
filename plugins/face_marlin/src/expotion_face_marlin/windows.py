"""Which frames each window sees, by time: 16 sample times at 80 Hz, and the frame on screen at each.

The video is never re-encoded: at 25 fps the 16 samples fall on five or six frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Video
from expotion_face_marlin.geometry import SAMPLE_RATE_HZ

MIN_SEEN = 0.5
"""Part of a window's samples that must lie on decodable video for the window to be valid."""


@dataclass(frozen=True)
class Windows:
    """Frames of n windows of f samples each.

    `frame` int64 [n, f]: index of the frame on screen; `times_s` float64 [n]: true centre of what was seen;
    `seen` bool [n]: false for windows (mostly) before the first or past the last decodable frame.
    """

    frame: NDArray[np.int64]
    times_s: NDArray[np.float64]
    seen: NDArray[np.bool_]


def regular_starts_s(duration_s: float, rate_hz: float) -> NDArray[np.float64]:
    """Starts of windows at this rate, float64 [n]: the last one has at least half its length in the clip."""
    n = max(1, int(np.floor(duration_s * rate_hz + 0.5 + 1e-6)))
    return np.arange(n, dtype=np.float64) / rate_hz


def reference_starts_s(duration_s: float, n_frames: int) -> NDArray[np.float64]:
    """Starts as in the released scripts, which re-encode to 80 fps and step by 16 frames.

    Starts 0, 16, ... strictly below total - 16, so 800 frames give 49 windows and 801 give 50; up to 16
    frames give one window, padded by the last frame.
    """
    total = timeline.n_steps(duration_s, SAMPLE_RATE_HZ)
    starts = np.arange(0, max(total - n_frames, 1), n_frames, dtype=np.float64)
    return starts / SAMPLE_RATE_HZ


def place_windows(
    video: Video, starts_s: NDArray[np.float64], n_frames: int, duration_s: float, *, as_reencoded: bool = False
) -> Windows:
    """Windows that begin at these times. Samples past the end repeat the last frame (as the reference does).

    A sample shows the frame on screen at its time; `as_reencoded` takes the frame that re-encoding to 80 fps
    puts there: FFmpeg's filter rounds timestamps to the nearest picture, so a frame begins up to half a sample
    early.

    A window's time is the mean timestamp of the frames that it saw, so that videos of any frame rate agree;
    where the frame rate is so low that neighbouring windows saw the same frames, it is the window's middle.
    """
    offsets = np.arange(n_frames, dtype=np.float64) / SAMPLE_RATE_HZ
    samples_s = starts_s[:, None] + offsets
    frame_times = video.frame_times_s
    middle_s = starts_s + n_frames / SAMPLE_RATE_HZ / 2
    if not len(frame_times):
        empty = np.zeros((len(starts_s), 0), dtype=np.int64)
        return Windows(empty, middle_s, np.zeros(len(starts_s), dtype=bool))
    early_s = 0.5 / SAMPLE_RATE_HZ - 2 * timeline.EPSILON_S if as_reencoded else 0.0
    frame = timeline.shown_at(frame_times, samples_s.ravel() + early_s).reshape(samples_s.shape)
    period_s = timeline.period_s(frame_times) or duration_s
    end_s = min(float(frame_times[-1]) + period_s, video.decodable_until_s)
    seen_sample = (samples_s >= frame_times[0] - period_s) & (samples_s < end_s - 1e-9)
    seen = seen_sample.mean(axis=1) >= MIN_SEEN
    if len(starts_s) == 1:
        seen = seen_sample.any(axis=1)
    seen_times = np.where(seen_sample, frame_times[frame], 0.0).sum(axis=1) / np.maximum(seen_sample.sum(axis=1), 1)
    times_s = np.where(seen, seen_times, middle_s)
    if not bool(np.all(np.diff(times_s) > 0)):
        times_s = middle_s
    return Windows(frame, times_s, seen)
