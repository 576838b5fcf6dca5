"""Clips for `extract.py`: a conductor's face or figure, or a given video, and frames held in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion.video.clip import FileClip
from expotion.video.memory import ArrayVideo, resize_frame
from expotion_conductor.clip import ConductorVideo
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan

FPS = 30.0
FACE_PX, FIGURE_PX = 224, 480


def frames_of(video: Path | None, seconds: float, face: bool) -> list[NDArray[np.uint8]]:
    """Frames at 30 fps: the given file looped, or a conductor; for `face` a square that holds the face."""
    times_s = np.arange(round(seconds * FPS)) / FPS
    if video is not None:
        clip = FileClip(video, require="video")
        assert clip.video is not None
        frames = clip.video.frames_at(times_s % clip.duration_s)
        side = min(frames.shape[1:3])
        box = np.array([(frames.shape[2] - side) / 2, (frames.shape[1] - side) / 2, side, side])
    else:
        drawn = ConductorVideo(make_plan(DEVELOPMENT_SEEDS, seconds), times_s, FIGURE_PX)
        frames, box = drawn.frames_at(times_s), drawn.figure.face_boxes(times_s).mean(axis=0)
    if not face:
        return list(frames)
    left, top, width, height = box.round().astype(int)
    return [resize_frame(frame[top : top + height, left : left + width], (FACE_PX, FACE_PX)) for frame in frames]


class Loaded(Clip):
    """A clip whose frames are in memory."""

    def __init__(self, frames: NDArray[np.uint8], times_s: NDArray[np.float64], duration_s: float) -> None:
        self.id, self.duration_s, self.tracks = "loaded", duration_s, {}
        self._video = ArrayVideo(frames, times_s)

    @property
    def content_hash(self) -> str:
        """Not used: nothing is cached."""
        return ""

    @property
    def video(self) -> ArrayVideo:
        """The frames."""
        return self._video

    def audio(self, sample_rate_hz: int) -> None:
        """No sound."""
