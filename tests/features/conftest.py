"""A small encoder and clips in memory."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expotion import contracts
from expotion.video.memory import ArrayVideo


class ToyOptions(contracts.Options):
    gain: float = 1.0
    fail_on: str = ""


class ToyEncoder(contracts.Encoder):
    """Mean brightness of every frame, times gain, and its time."""

    def __init__(self, options: ToyOptions, needs: frozenset[contracts.Need] = frozenset({"video"})) -> None:
        self.spec = contracts.EncoderSpec(
            "toy", "brightness", needs, ToyEncoder, ToyOptions, lambda _: 2, lambda _: 10.0
        )
        self.options: ToyOptions = options
        self.calls = 0
        self.hash = "w1"

    @property
    def weights_hash(self) -> str:
        return self.hash

    def extract(self, clip: contracts.Clip) -> contracts.TimedFeatures:
        self.calls += 1
        if clip.id == self.options.fail_on:
            raise RuntimeError("the lens cap is on")
        assert clip.video is not None
        times_s = clip.video.frame_times_s
        mean = clip.video.frames_at(times_s).astype(np.float32).mean(axis=(1, 2, 3)) * self.options.gain
        values = np.stack([mean, times_s.astype(np.float32)], axis=1)
        return contracts.TimedFeatures(values.astype(np.float32), times_s, mean > 0)


class ToyClip(contracts.Clip):
    def __init__(self, name: str, seed: int = 0, tracks: Mapping[str, Path] | None = None) -> None:
        self.id, self.duration_s, self.caption = name, 2.0, "a caption"
        self.frames = np.random.default_rng(seed).integers(1, 255, (20, 4, 6, 3), dtype=np.uint8)
        self.tracks = dict(tracks or {})
        self.closed = 0

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self.frames.tobytes()).hexdigest()

    @property
    def video(self) -> contracts.Video:
        return ArrayVideo(self.frames, np.arange(20) / 10)

    def audio(self, sample_rate_hz: int) -> None:
        return None

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def toy() -> Callable[..., ToyEncoder]:
    def build(*, needs: frozenset[Any] = frozenset({"video"}), **options: Any) -> ToyEncoder:
        return ToyEncoder(ToyOptions(**options), needs)

    return build


@pytest.fixture
def clip() -> Callable[..., ToyClip]:
    return ToyClip
