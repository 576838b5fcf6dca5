"""Clips of the world: lazily drawn frames by time, sound, truth, a stable hash, splits that never meet."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from expotion.contracts import Clip, Video
from expotion.errors import ExpotionError
from expotion_conductor import clip as clip_module
from expotion_conductor.clip import ConductorClip, frame_times
from expotion_conductor.plan import ADAPTOR_TRAIN_SEEDS, DEVELOPMENT_SEEDS, TEST_SEEDS, make_plan
from expotion_conductor.source import SPEC, ConductorOptions, ConductorSource

PLAN = make_plan(DEVELOPMENT_SEEDS + 7, 3.0)


def test_a_clip_has_everything_a_clip_has() -> None:
    clip = ConductorClip(PLAN, size_px=96)
    assert isinstance(clip, Clip) and isinstance(clip.video, Video)
    assert clip.caption == PLAN.caption and clip.duration_s == 3.0 and clip.path is None and not clip.tracks
    assert clip.truth is not None and clip.truth.ictus_s is not None
    np.testing.assert_array_equal(clip.truth.beats_s, PLAN.beats_s)
    np.testing.assert_array_equal(clip.truth.ictus_s, PLAN.beats_s)
    assert clip.truth.tempo_bpm == PLAN.tempo_bpm
    assert clip.video.size == (96, 96) and clip.video.decodable_until_s == float("inf")


def test_frames_come_by_time_scaled_and_repeated() -> None:
    times_s = np.array([0.0, 0.5, 1.0, 2.0])
    video = ConductorClip(PLAN, frame_times_s=times_s, size_px=96).video
    every = video.frames_at(times_s)
    asked = video.frames_at(np.array([-1.0, 0.49, 0.5, 0.9999999, 1.7, 99.0]))
    np.testing.assert_array_equal(asked, every[[0, 0, 1, 2, 2, 3]])
    assert video.frames_at(times_s, shorter_side=48).shape == (4, 48, 48, 3)
    assert video.frames_at(times_s[:0]).shape == (0, 96, 96, 3)
    small = video.frames_at(times_s[:1], shorter_side=48)[0].astype(float)
    halves = every[0].astype(float).reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, halves, atol=1.0)
    listed = list(video.iter_frames(chunk=3))
    assert [time_s for time_s, _ in listed] == times_s.tolist()
    np.testing.assert_array_equal(np.stack([frame for _, frame in listed]), every)
    with pytest.raises(ExpotionError, match="shorter_side"):
        video.frames_at(times_s, shorter_side=0)


def test_one_motion_at_many_rates_shows_equal_frames_at_equal_times() -> None:
    rates_hz = (12.0, 24.0, 60.0)
    at_s = np.array([0.0, 0.25, 1.5, 2.75])
    frames = [
        ConductorClip(PLAN, frame_times_s=np.arange(0, 3, 1 / rate_hz), size_px=64).video.frames_at(at_s)
        for rate_hz in rates_hz
    ]
    for other in frames[1:]:
        difference = np.abs(other.astype(int) - frames[0])
        assert difference.mean() < 0.05


def test_own_frame_rates_are_varied_and_within_the_clip() -> None:
    steps = [np.diff(frame_times(seed, 5.0)) for seed in range(60)]
    rates = {round(1 / float(step.mean()), 1) for step in steps if np.ptp(step) < 1e-9}
    assert rates == {24.0, 25.0, 30.0}
    assert 1 <= sum(np.ptp(step) > 1e-3 for step in steps) <= 20, "some clips have a variable rate"
    times_s = frame_times(3, 5.0)
    assert times_s[0] == 0.0 and 4.9 < times_s[-1] < 5.0


def test_the_hash_names_what_the_clip_is_made_of() -> None:
    clip = ConductorClip(PLAN)
    assert clip.content_hash == ConductorClip(make_plan(DEVELOPMENT_SEEDS + 7, 3.0)).content_hash
    others = [
        ConductorClip(PLAN, size_px=96),
        ConductorClip(make_plan(DEVELOPMENT_SEEDS + 8, 3.0)),
        ConductorClip(make_plan(DEVELOPMENT_SEEDS + 7, 4.0)),
        ConductorClip(PLAN, frame_times_s=np.arange(0, 3, 0.1)),
    ]
    assert len({clip.content_hash, *(other.content_hash for other in others)}) == 5
    assert len(clip.content_hash) == 64


def test_sound_at_any_rate() -> None:
    clip = ConductorClip(make_plan(DEVELOPMENT_SEEDS + 7, 1.5))
    full, half = clip.audio(32000), clip.audio(16000)
    assert full.shape == (48000,) and half.shape == (24000,) and half.dtype == np.float32
    assert clip.audio(22050).shape == (33075,)
    spectrum_full = np.abs(np.fft.rfft(full))[:6000]
    spectrum_half = 2 * np.abs(np.fft.rfft(half))[:6000]
    assert np.corrcoef(spectrum_full, spectrum_half)[0, 1] > 0.99


def test_the_frame_cache_is_bounded_and_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = clip_module._FrameCache(10 * 96 * 96 * 3)
    monkeypatch.setattr(clip_module, "_CACHE", cache)
    clip = ConductorClip(PLAN, size_px=96)
    before = clip.video.frames_at(np.arange(0, 3, 0.1))
    assert len(cache._frames) == 10 and cache._bytes <= 10 * 96 * 96 * 3
    clip.close()
    assert len(cache._frames) == 0 and cache._bytes == 0
    np.testing.assert_array_equal(clip.video.frames_at(np.arange(0, 3, 0.1)), before)


@pytest.mark.parametrize("times_s", [[], [0.2, 0.1], [-0.1, 0.0], [0.0, 0.0]])
def test_impossible_timestamps_are_refused(times_s: list[float]) -> None:
    with pytest.raises(ExpotionError, match="frame_times_s"):
        ConductorClip(PLAN, frame_times_s=np.array(times_s))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ExpotionError, match="size_px"):
        ConductorClip(PLAN, size_px=8)


def test_splits_are_lazy_ordered_and_disjoint() -> None:
    source = SPEC.build(ConductorOptions(train_clips=300, test_clips=24, clip_s=10.0))
    assert isinstance(source, ConductorSource)
    train, test = source.clips("train"), source.clips("test")
    assert [clip.plan.seed for clip in train] == [ADAPTOR_TRAIN_SEEDS + index for index in range(300)]
    assert [clip.plan.seed for clip in test] == [TEST_SEEDS + index for index in range(24)]
    assert len({clip.id for clip in (*train, *test)}) == 324
    assert not any("_scene" in vars(clip._video) for clip in train)


@pytest.mark.parametrize("keys", [{"train_clip": 3}, {"clip_s": 0.0}, {"size": 10}, {"test_clips": 0}])
def test_wrong_options_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ConductorOptions.model_validate(keys)
