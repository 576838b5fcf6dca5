"""The encoder on videos made in memory: times, validity, determinism, frame rates, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from expotion.contracts import Clip
from expotion.errors import MediaError
from expotion_motion_synchformer import SPEC, SynchformerOptions
from expotion_motion_synchformer.encoder import SynchformerEncoder, fetch, pictures_at
from expotion_motion_synchformer.options import GEOMETRIES


class MemoryVideo:
    """A bright square that swings up and down once a second on a dark picture, at any timestamps."""

    def __init__(self, frame_times_s, size=(80, 80), decodable_until_s=np.inf):
        self.frame_times_s = np.asarray(frame_times_s, dtype=np.float64)
        self.size = size
        self.decodable_until_s = decodable_until_s
        self.asked = 0

    def frames_at(self, times_s, *, shorter_side=None):
        self.asked += len(times_s)
        index = np.clip(np.searchsorted(self.frame_times_s, times_s, side="right") - 1, 0, None)
        height, width = self.size
        if shorter_side is not None:
            scale = shorter_side / min(self.size)
            height, width = round(height * scale), round(width * scale)
        frames = np.full((len(index), height, width, 3), 40, dtype=np.uint8)
        rows = np.arange(height)[None, :] / height
        centre = 0.5 + 0.25 * np.sin(2 * np.pi * self.frame_times_s[index])[:, None]
        soft = np.clip(1.5 - np.abs(rows - centre) * 12, 0, 1)  # [m, H]
        left, right = int(0.55 * width), int(0.7 * width)
        frames[:, :, left:right] = (40 + 180 * soft)[:, :, None, None].astype(np.uint8)
        return frames


class MemoryClip(Clip):
    def __init__(self, video, duration_s):
        self.id, self.duration_s, self.tracks = "memory", duration_s, {}
        self._video = video

    @property
    def content_hash(self):
        return "0"

    @property
    def video(self):
        return self._video

    def audio(self, sample_rate_hz):
        return None


def clip_at(fps, duration_s=2.0, **more):
    return MemoryClip(MemoryVideo(np.arange(round(duration_s * fps)) / fps, **more), duration_s)


@pytest.fixture(scope="module")
def encoder():
    return SynchformerEncoder(SynchformerOptions())


def test_times_shapes_and_determinism(encoder):
    clip = clip_at(25)
    track = encoder.extract(clip)
    assert track.values.shape == (25, SPEC.width(encoder.options)) == (25, 96)
    np.testing.assert_allclose(track.times_s, 0.02 + 0.08 * np.arange(25))
    assert track.valid.all()
    assert SPEC.rate_hz(encoder.options) == 12.5
    again = SynchformerEncoder(SynchformerOptions(batch_size=1)).extract(clip_at(25))
    np.testing.assert_allclose(again.values, track.values, atol=2e-5)
    np.testing.assert_array_equal(encoder.extract(clip).values, track.values)


def test_standardised_and_frozen(encoder):
    assert encoder.mean is not None and encoder.std is not None
    assert float(encoder.std.min()) > 0
    assert len(encoder.weights_hash) == 64
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert not encoder.model.training


@pytest.mark.parametrize("fps", [12.5, 24, 29.97, 60])
def test_the_same_motion_at_other_frame_rates(encoder, fps):
    reference, other = encoder.extract(clip_at(50)), encoder.extract(clip_at(fps))
    np.testing.assert_array_equal(reference.times_s, other.times_s)
    a, b = reference.values[2:-3].astype(np.float64), other.values[2:-3].astype(np.float64)
    shuffled = np.roll(a, len(a) // 2, axis=0)
    near, far = np.linalg.norm(a - b), np.linalg.norm(a - shuffled)
    assert near < 0.5 * far


def test_variable_frame_rate_keeps_the_row_times(encoder):
    steps_s = np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 24], 100)
    times_s = np.concatenate(([0.0], np.cumsum(steps_s)))
    track = encoder.extract(MemoryClip(MemoryVideo(times_s[times_s < 2.0]), 2.0))
    np.testing.assert_allclose(track.times_s, 0.02 + 0.08 * np.arange(25))
    assert track.valid.all()


def test_where_decoding_stops_rows_are_not_valid(encoder):
    track = encoder.extract(clip_at(25, decodable_until_s=1.0))
    np.testing.assert_array_equal(track.valid, track.times_s + 0.04 < 1.0)
    assert np.isfinite(track.values).all()


def test_one_picture_has_no_motion(encoder):
    track = encoder.extract(MemoryClip(MemoryVideo([0.0]), 1.0))
    assert len(track.times_s) == 13 and track.coverage == 0.0


@pytest.mark.parametrize("duration_s", [0.02, 0.3, 0.79, 1.31])
def test_short_clips(encoder, duration_s):
    track = encoder.extract(clip_at(25, duration_s=max(duration_s, 0.08)))
    assert 1 <= len(track.times_s) <= round(max(duration_s, 0.08) * 12.5) + 1
    assert track.times_s[-1] < max(duration_s, 0.08)


def test_no_picture_is_one_clear_error(encoder):
    with pytest.raises(MediaError, match="memory: a clip with a picture"):
        encoder.extract(MemoryClip(None, 1.0))


def test_reference_windows_and_step(encoder):
    options = SynchformerOptions(windows="reference", segment_step_frames=5, overlap="average")
    track = SynchformerEncoder(options).extract(clip_at(25, duration_s=2.0))
    assert SPEC.rate_hz(options) == 25.0
    assert np.all(np.diff(track.times_s) > 0.039)
    assert track.times_s[0] > 0.02  # centred: both ends are left out


def test_whole_frame_is_fitted_and_the_official_one_cropped():
    wide = MemoryVideo([0.0, 0.04], size=(180, 320))
    fitted = fetch(wide, wide.frame_times_s, GEOMETRIES["tiny"])
    assert fitted.shape == (2, 48, 48, 3)
    assert int((fitted[0] == 128).all(-1).all(-1).sum()) == 48 - 27
    cropped = fetch(wide, wide.frame_times_s, GEOMETRIES["base"])
    assert cropped.shape == (2, 224, 224, 3)


def test_pictures_between_two_frames():
    video = MemoryVideo([0.0, 0.1])
    ends = fetch(video, video.frame_times_s, GEOMETRIES["tiny"]).float()
    times_s = np.array([0.0, 0.025, 0.1])
    mixed = pictures_at(video, times_s, GEOMETRIES["tiny"], between="blend").float()
    assert (mixed[1] - (0.75 * ends[0] + 0.25 * ends[1])).abs().max() <= 0.5
    assert bool((mixed[0] == ends[0]).all()) and bool((mixed[2] == ends[1]).all())
    nearest = pictures_at(video, times_s, GEOMETRIES["tiny"], between="nearest").float()
    assert bool((nearest[1] == ends[0]).all())
    assert not bool((ends[0] == ends[1]).all())


def test_official_sizes_run_with_seeded_weights(monkeypatch):
    monkeypatch.setitem(GEOMETRIES, "base", replace(GEOMETRIES["base"], depth=1))  # eleven more take long
    options = SynchformerOptions(geometry="base", weights="seeded", segment_step_frames=16)
    assert (SPEC.width(options), SPEC.rate_hz(options)) == (768, 12.5)
    encoder = SynchformerEncoder(options)
    track = encoder.extract(clip_at(25, duration_s=0.64))
    assert track.values.shape == (8, 768) and np.isfinite(track.values).all()
    assert encoder.mean is None


def test_unknown_option_is_refused():
    with pytest.raises(ValidationError, match="stride"):
        SynchformerOptions(stride=5)
