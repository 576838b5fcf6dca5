"""Sounds and clips whose beats and loudness are known by construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.contracts import Clip, Truth, Video

RATE_HZ = 32_000


class SoundClip(Clip):
    """A clip without a picture."""

    def __init__(self, clip_id: str, sound: NDArray[np.float32] | None, truth: Truth | None) -> None:
        self.id = clip_id
        self.sound = sound
        self.truth = truth
        self.duration_s = 0.0 if sound is None else len(sound) / RATE_HZ
        self.tracks = {}

    @property
    def content_hash(self) -> str:
        return self.id

    @property
    def video(self) -> Video | None:
        return None

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        assert sample_rate_hz == RATE_HZ
        return self.sound


@pytest.fixture
def make_clip() -> Callable[..., SoundClip]:
    """Makes a clip from its sound, and from beats and a tempo where they are known."""

    def make(
        sound: NDArray[np.float32] | None,
        beats_s: NDArray[np.float64] | None = None,
        *,
        clip_id: str = "clip",
        intensity: NDArray[np.float64] | None = None,
        tempo_bpm: float | None = None,
    ) -> SoundClip:
        truth = None
        if beats_s is not None:
            curve = np.zeros(0) if intensity is None else intensity
            times_s = np.linspace(0, 8.0, len(curve))
            truth = Truth(beats_s, times_s, curve, tempo_bpm)
        return SoundClip(clip_id, sound, truth)

    return make
