"""The suite passes a sound encoder and catches each way of being unsound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ConfigDict

from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures, TokenFeatures, Weights
from expotion.errors import PluginError
from expotion.testing import SyntheticClip, check_encoder, moving_shapes, run_checks
from expotion.testing.clips import frame_times_s

RATE_HZ = 20.0


class CentreOptions(Options):
    rate_hz: float = RATE_HZ


def centres(clip: Clip, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """Centre of brightness of the frame shown at each time, [n, 2]."""
    assert clip.video is not None
    frames = clip.video.frames_at(times_s, shorter_side=32).astype(np.float64).mean(axis=-1)
    light = np.clip(frames - 130.0, 0.0, None) + 1e-3
    side = np.arange(frames.shape[1]) / frames.shape[1]
    total = light.sum(axis=(1, 2))
    x, y = (light.sum(axis=1) @ side) / total, (light.sum(axis=2) @ side) / total
    return np.stack([x, y], axis=-1).astype(np.float32)


class Centre(Encoder):
    """Follows the bright disc."""

    def __init__(self, spec: EncoderSpec, options: CentreOptions) -> None:
        self.spec = spec
        self.options = options

    def times(self, clip: Clip) -> NDArray[np.float64]:
        return np.arange(math.ceil(clip.duration_s * RATE_HZ), dtype=np.float64) / RATE_HZ

    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        if clip.video is None:
            nothing = np.zeros(0)
            return TimedFeatures(np.zeros((0, 2), np.float32), nothing, nothing.astype(bool))
        times_s = self.times(clip)
        return TimedFeatures(centres(clip, times_s), times_s, np.ones(len(times_s), bool))


def spec_of(encoder: Callable[..., Any] = Centre, **changes: Any) -> EncoderSpec:
    spec = EncoderSpec(
        name="centre",
        description="centre of brightness",
        needs=frozenset({"video"}),
        build=lambda options: encoder(holder[0], options),
        options=CentreOptions,
        width=lambda options: 2,
        rate_hz=lambda options: RATE_HZ,
    )
    holder = [replace(spec, **changes)]
    return holder[0]


def failed(spec: EncoderSpec, **arguments: Any) -> dict[str, str]:
    return {r.name: f"{r.detail}; {r.fix}" for r in run_checks(spec, **arguments) if r.passed is False}


def test_a_sound_encoder_passes_every_frame_rate() -> None:
    results = {result.name: result for result in check_encoder(spec_of(), level="full")}
    assert results["frame rates"].passed
    assert results["rate"].detail == "20 Hz"
    assert results["width"].detail == "2"
    assert all(result.passed is not False for result in results.values())


class WrongWidth(Centre):
    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        track = super().extract(clip)
        assert isinstance(track, TimedFeatures)
        return TimedFeatures(np.repeat(track.values, 2, axis=1), track.times_s, track.valid)


class ByFrameNumber(Centre):
    """Speeds per frame: different at every frame rate."""

    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        if clip.video is None or len(clip.video.frame_times_s) < 2:
            return super().extract(clip)
        times_s = clip.video.frame_times_s
        moved = np.diff(centres(clip, times_s), axis=0, prepend=0.5)
        return TimedFeatures(moved.astype(np.float32), times_s, np.ones(len(times_s), bool))


class Random(Centre):
    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        track = super().extract(clip)
        assert isinstance(track, TimedFeatures)
        noise = np.random.default_rng().normal(size=track.values.shape).astype(np.float32)
        return TimedFeatures(track.values + noise, track.times_s, track.valid)


class Late(Centre):
    def times(self, clip: Clip) -> NDArray[np.float64]:
        return super().times(clip) + 1.5


class Slow(Centre):
    def times(self, clip: Clip) -> NDArray[np.float64]:
        return super().times(clip)[::2]


class Fragile(Centre):
    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        if clip.video is None or len(clip.video.frame_times_s) < 3:
            raise IndexError("list index out of range")
        return super().extract(clip)


class Trainable(Centre):
    def __init__(self, spec: EncoderSpec, options: CentreOptions) -> None:
        import torch

        super().__init__(spec, options)
        self.model = torch.nn.Linear(2, 2)


class Drifting(Centre):
    def __init__(self, spec: EncoderSpec, options: CentreOptions) -> None:
        import torch

        super().__init__(spec, options)
        self.model = torch.nn.BatchNorm1d(2).requires_grad_(False).eval()

    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        self.model.running_mean += 1.0
        return super().extract(clip)


class Holes(Centre):
    def smooth(self, track: TimedFeatures, times_s: NDArray[np.float64]) -> Any:
        smooth = super().smooth(track, times_s)
        return replace(smooth, values=smooth.values[:-1])


class FrozenProjection(Centre):
    def project(self, d_in: int, rank: int) -> Any:
        return super().project(d_in, rank + 1)


class Anonymous(Centre):
    def __init__(self, spec: EncoderSpec, options: CentreOptions) -> None:
        super().__init__(spec, options)
        self.options = CentreOptions(rate_hz=1.0)


@pytest.mark.parametrize(
    ("encoder", "check", "message"),
    [
        (WrongWidth, "width", "announced 2, extract gave 4"),
        (ByFrameNumber, "frame rates", "divide by seconds, not frames"),
        (Random, "determinism", "seed what is random"),
        (Late, "times", "seconds from the clip's start"),
        (Slow, "rate", "announced 20 Hz, samples come at 10 Hz"),
        (Fragile, "one frame", "IndexError: list index out of range"),
        (Fragile, "missing parts", "raise no other exception than an ExpotionError"),
        (Trainable, "frozen", "requires_grad_(False)"),
        (Drifting, "frozen", "extracting changed the weights"),
        (Holes, "smooth", "a row for every time"),
        (FrozenProjection, "project", "to [.., rank]"),
        (Anonymous, "build", "set self.options"),
    ],
)
def test_each_way_of_being_unsound_is_caught_with_advice(encoder: type[Centre], check: str, message: str) -> None:
    assert message in failed(spec_of(encoder))[check]


class LooseOptions(CentreOptions):
    model_config = ConfigDict(extra="ignore", frozen=True)


@pytest.mark.parametrize(
    ("changes", "check", "message"),
    [
        ({"name": "My Encoder"}, "spec", "small letters"),
        ({"description": " "}, "spec", "description is empty"),
        ({"licence": ""}, "spec", "licence is empty"),
        ({"needs": frozenset()}, "spec", "needs must be some of"),
        ({"smoother": "cubic"}, "spec", "smoother must be one of"),
        ({"width": lambda options: 0}, "spec", "above 0"),
        ({"rate_hz": lambda options: -1.0}, "spec", "None or above 0"),
        ({"options": LooseOptions}, "options", "an unknown option is accepted"),
        ({"feeds": "cross_attention"}, "features", "change feeds"),
        ({"weights": lambda options: [Weights("w", "", "MIT")]}, "spec", "source and licence"),
        ({"weights": lambda options: [Weights("w", "shipped", "MIT")]}, "frozen", "weights_hash is empty"),
    ],
)
def test_each_fault_of_a_spec_is_caught(changes: dict[str, Any], check: str, message: str) -> None:
    assert message in failed(spec_of(**changes))[check]


def test_all_failures_are_raised_together() -> None:
    with pytest.raises(AssertionError) as caught:
        check_encoder(spec_of(WrongWidth, description=""))
    text = str(caught.value)
    assert text.startswith("encoder 'centre' fails ")
    assert "description is empty" in text and "announced 2, extract gave 4" in text


def test_options_that_the_encoder_does_not_know_end_the_suite() -> None:
    results = run_checks(spec_of(), {"rat_hz": 3})
    assert [(result.name, result.passed) for result in results] == [("options", False)]
    assert "rat_hz" in results[0].detail


class Words(Encoder):
    """A token encoder: one row per word."""

    def __init__(self, spec: EncoderSpec, options: CentreOptions) -> None:
        self.spec = spec
        self.options = options

    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        words = (clip.caption or "").split()
        values = np.array([[len(word), ord(word[0])] for word in words], np.float32).reshape(-1, 2)
        return TokenFeatures(values, np.ones(len(words), bool))


def test_token_features_skip_what_is_about_time() -> None:
    spec = spec_of(Words, feeds="cross_attention", needs=frozenset({"text"}), rate_hz=lambda options: None)
    results = {result.name: result.passed for result in check_encoder(spec)}
    assert results["features"] is True
    assert results["missing parts"] is True
    assert results["times"] is None and results["smooth"] is None and results["project"] is None


def test_a_name_that_nobody_offers() -> None:
    with pytest.raises(PluginError, match="an installed encoder"):
        run_checks("no_such_encoder")


def test_a_level_that_is_none() -> None:
    with pytest.raises(ValueError, match="quick, full"):
        run_checks(spec_of(), level="slow")


@pytest.mark.parametrize("fps", [12.0, 25.0, 30_000 / 1001, 60.0, None])
def test_frames_are_chosen_by_time(fps: float | None) -> None:
    clip = SyntheticClip(1.0, fps)
    assert clip.video is not None
    times_s = clip.video.frame_times_s
    assert times_s[0] == 0.0 and times_s[-1] < 1.0
    assert bool(np.all(np.diff(times_s) > 0))
    between = (times_s[3] + times_s[4]) / 2
    shown = clip.video.frames_at(np.array([between, times_s[3], times_s[4], 99.0]))
    assert np.array_equal(shown[0], shown[1]) and not np.array_equal(shown[0], shown[2])
    assert np.array_equal(shown[3], moving_shapes()(float(times_s[-1])))
    assert clip.video.frames_at(times_s[:2], shorter_side=24).shape == (2, 24, 24, 3)
    assert clip.video.size == (96, 96)


def test_clips_without_parts_and_their_hashes() -> None:
    whole = SyntheticClip()
    assert whole.content_hash == SyntheticClip().content_hash
    variants = [SyntheticClip(fps=30.0), SyntheticClip(n_frames=0), SyntheticClip(caption=None)]
    assert len({whole.content_hash, *(clip.content_hash for clip in variants)}) == 4
    assert SyntheticClip(n_frames=0).video is None
    assert SyntheticClip(with_audio=False).audio(16_000) is None
    sound = whole.audio(16_000)
    assert sound is not None and sound.shape == (32_000,) and sound.dtype == np.float32
    assert len(frame_times_s(0.01, 25.0)) == 1


def test_the_cost_is_reported_and_an_absurd_one_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {result.name: result for result in run_checks(spec_of())}
    assert found["cost"].passed
    assert "s of processor time per second of clip" in found["cost"].detail
    monkeypatch.setattr("expotion.testing.behaviour.MAX_COST", 0.0)
    assert {result.name for result in run_checks(spec_of()) if result.passed is False} == {"cost"}
