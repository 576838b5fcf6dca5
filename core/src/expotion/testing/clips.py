"""Clips made of arithmetic: moving shapes at any frame rate, a tone, a caption. No files, no weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Video

Scene = Callable[[float], NDArray[np.uint8]]
"""The picture at a time in seconds: RGB uint8 [H, W, 3]."""


def moving_shapes(beat_hz: float = 1.2, direction_rad: float = math.pi / 2, side: int = 96) -> Scene:
    """A disc that swings at `beat_hz` along a direction over a soft background, and a bar that follows it.

    Edges are soft, so that a small movement is a small change of the picture at every frame rate.
    """
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float64) / side
    ground = np.stack([60 + 60 * rows, 70 + 40 * columns, 90 + 0 * rows], axis=-1)

    def near(middle: float, reach: float) -> slice:
        return slice(max(0, int((middle - reach) * side)), max(0, int((middle + reach) * side) + 2))

    def scene(time_s: float) -> NDArray[np.uint8]:
        swing = 0.3 * math.sin(2 * math.pi * beat_hz * time_s)
        x = 0.5 + swing * math.cos(direction_rad)
        y = 0.5 + swing * math.sin(direction_rad)
        across = 0.25 + 0.4 * (y - 0.5)
        picture = ground.copy()
        at = (slice(None), near(across, 0.05))
        bar = _soft(0.03 - np.abs(columns[at] - across)) * _soft(0.35 - np.abs(rows[at] - 0.5))
        picture[at] += bar[..., None] * (np.array([40.0, 200.0, 120.0]) - picture[at])
        at = (near(y, 0.16), near(x, 0.16))
        disc = _soft(0.14 - np.hypot(columns[at] - x, rows[at] - y))
        picture[at] += disc[..., None] * (np.array([230.0, 190.0, 160.0]) - picture[at])
        return picture.round().astype(np.uint8)

    return scene


def _soft(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 outside, 1 inside, with an edge about two hundredths of the picture wide."""
    soft: NDArray[np.float64] = np.clip(0.5 + distance / 0.02, 0.0, 1.0)
    return soft


class SyntheticVideo:
    """A `contracts.Video` whose frame at time t is `scene(t)`. `frame_times_s` float64 [n], increasing."""

    def __init__(self, scene: Scene, frame_times_s: NDArray[np.float64]) -> None:
        self._scene = scene
        self._times_s = np.asarray(frame_times_s, dtype=np.float64)
        self._drawn: dict[int, NDArray[np.uint8]] = {}

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Presentation time of every frame in seconds, float64 [n]."""
        return self._times_s

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self._frame(0).shape[:2]
        return height, width

    @property
    def decodable_until_s(self) -> float:
        """Everything can be decoded."""
        return math.inf

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """The last frame not later than each time, RGB uint8 [m, H, W, 3]; the first one before it begins."""
        asked = np.asarray(times_s, dtype=np.float64)
        indices = np.searchsorted(self._times_s, asked + timeline.EPSILON_S, side="right") - 1
        indices = np.clip(indices, 0, len(self._times_s) - 1)
        frames = [_scaled(self._frame(int(index)), shorter_side) for index in indices]
        return np.stack(frames) if frames else np.zeros((0, *self._frame(0).shape), np.uint8)

    def _frame(self, index: int) -> NDArray[np.uint8]:
        if index not in self._drawn:
            self._drawn[index] = self._scene(float(self._times_s[index]))
        return self._drawn[index]


def _scaled(frame: NDArray[np.uint8], shorter_side: int | None) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if shorter_side is None or shorter_side == min(height, width):
        return frame
    import cv2  # noqa: PLC0415 - heavy

    scale = shorter_side / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


class SyntheticClip(Clip):
    """An in-memory clip. `fps` None means frames at irregular times; `n_frames` 0 means no video.

    `scene` draws the picture at a time (default: `moving_shapes()`); sound is a swelling tone; `tracks` are the
    clip's sensor files by name.
    """

    def __init__(
        self,
        duration_s: float = 2.0,
        fps: float | None = 25.0,
        *,
        scene: Scene | None = None,
        n_frames: int | None = None,
        with_audio: bool = True,
        caption: str | None = "warm strings over a steady drum",
        id: str = "synthetic",
        tracks: Mapping[str, Path] | None = None,
    ) -> None:
        self.id = id
        self.duration_s = duration_s
        self.caption = caption
        self.path = None
        self.truth = None
        self.tracks = dict(tracks or {})
        self._with_audio = with_audio
        times_s = frame_times_s(duration_s, fps)
        times_s = times_s if n_frames is None else times_s[:n_frames]
        self._video = SyntheticVideo(scene or moving_shapes(), times_s) if len(times_s) else None

    @property
    def content_hash(self) -> str:
        """Hash of the sound, the caption, and a few frames with their times."""
        digest = hashlib.sha256(f"{self.duration_s} {self.caption} {self._with_audio}".encode())
        if self._video is not None:
            times_s = self._video.frame_times_s
            digest.update(times_s.tobytes())
            digest.update(self._video.frames_at(times_s[:: max(1, len(times_s) // 4)]).tobytes())
        return digest.hexdigest()

    @property
    def video(self) -> Video | None:
        """The picture, or None."""
        return self._video

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        """A tone of 220 Hz that swells twice a second, float32 [n], or None."""
        if not self._with_audio:
            return None
        times_s = timeline.sample_times_s(timeline.n_samples(self.duration_s, sample_rate_hz), sample_rate_hz)
        swell = 0.3 + 0.2 * np.sin(2 * np.pi * 2.0 * times_s)
        return (swell * np.sin(2 * np.pi * 220.0 * times_s)).astype(np.float32)


def frame_times_s(duration_s: float, fps: float | None) -> NDArray[np.float64]:
    """Times of the frames of a clip, float64 [n]; irregular (about 30 a second) where `fps` is None."""
    if fps is not None:
        return np.arange(max(1, math.ceil(duration_s * fps - 1e-9)), dtype=np.float64) / fps
    steps_s = np.random.default_rng(0).uniform(0.02, 0.05, size=math.ceil(duration_s / 0.02) + 1)
    times_s = np.concatenate([[0.0], np.cumsum(steps_s)])
    return times_s[times_s < duration_s]
