from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from expotion.contracts import Clip, Video

torch.set_num_threads(1)
cv2.setNumThreads(1)


class FakeVideo:
    """Frames in memory, shown from their timestamp on; `until_s`: where decoding stops."""

    def __init__(
        self, frames: NDArray[np.uint8], times_s: NDArray[np.float64], until_s: float = float("inf")
    ) -> None:
        self.frames, self.times_s, self.decodable_until_s = frames, times_s, until_s
        self.asked = 0

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        return self.times_s

    @property
    def size(self) -> tuple[int, int]:
        return self.frames.shape[1], self.frames.shape[2]

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> NDArray[np.uint8]:
        self.asked += len(times_s)
        shown = np.clip(np.searchsorted(self.times_s, np.asarray(times_s) + 1e-6, side="right") - 1, 0, None)
        frames = self.frames[shown]
        if shorter_side is None or shorter_side == min(self.size):
            return frames
        scale = shorter_side / min(self.size)
        size = (round(self.size[1] * scale), round(self.size[0] * scale))
        return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


class FakeClip(Clip):
    def __init__(self, video: Video | None, duration_s: float) -> None:
        self.id, self.duration_s, self.tracks, self._video = "fake", duration_s, {}, video

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(b"fake").hexdigest()

    @property
    def video(self) -> Video | None:
        return self._video

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        return None


@lru_cache(maxsize=1024)
def draw_face(
    size: tuple[int, int], centre: tuple[float, float], side: float, mouth: float = 0.3
) -> NDArray[np.uint8]:
    """A face that the cascades know: skin, brows, eyes, nose, mouth (open by `mouth` 0..1), drawn finely."""
    fine = 4
    image = np.full((size[0] * fine, size[1] * fine, 3), (96, 110, 120), dtype=np.uint8)
    x, y, s = centre[0] * fine, centre[1] * fine, side * fine

    def ellipse(dx: float, dy: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        middle = (round(x + dx * s), round(y + dy * s))
        cv2.ellipse(image, middle, (max(1, round(rx * s)), max(1, round(ry * s))), 0, 0, 360, colour, -1)

    ellipse(0, 0.0, 0.47, 0.62, (70, 48, 36))
    ellipse(0, 0.06, 0.42, 0.55, (222, 176, 148))
    for sign in (-1, 1):
        ellipse(sign * 0.18, -0.08, 0.11, 0.07, (150, 104, 84))
        ellipse(sign * 0.18, -0.07, 0.09, 0.045, (245, 245, 245))
        ellipse(sign * 0.18, -0.07, 0.042, 0.042, (30, 24, 20))
        ellipse(sign * 0.18, -0.19, 0.12, 0.025, (60, 40, 30))
        ellipse(sign * 0.045, 0.16, 0.03, 0.02, (130, 84, 70))
    ellipse(0, 0.05, 0.035, 0.12, (240, 200, 172))
    ellipse(0, 0.34, 0.16, 0.03 + 0.09 * mouth, (150, 52, 52))
    ellipse(0, 0.34, 0.12, 0.01 + 0.06 * mouth, (40, 16, 18))
    drawn = np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    drawn.flags.writeable = False  # the same face is drawn once
    return drawn


def face_frames(
    times_s: NDArray[np.float64],
    mouth: Callable[[float], float] = lambda t: 0.5 + 0.5 * np.sin(2 * np.pi * 0.5 * t),
    where: Callable[[float], tuple[float, float]] = lambda t: (60 + 6 * np.sin(t), 52),
) -> NDArray[np.uint8]:
    """Frames uint8 [n, 112, 120, 3] of a slowly moving face whose mouth opens and closes."""
    return np.stack([draw_face((112, 120), where(t), 48, mouth(t)) for t in times_s])


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    """`video`, `clip`, `draw_face`, `face_frames`: what tests build their clips from."""
    return SimpleNamespace(video=FakeVideo, clip=FakeClip, draw_face=draw_face, face_frames=face_frames)


@pytest.fixture(scope="session")
def face_video() -> FakeVideo:
    times_s = np.arange(50) / 25.0
    return FakeVideo(face_frames(times_s), times_s)


@pytest.fixture(scope="session")
def golden() -> Path:
    return Path(__file__).parents[3] / "tests" / "golden"
