from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from expotion.contracts import Video
from expotion.errors import MediaError
from expotion_face_marlin import SPEC, TINY_WEIGHTS, FaceMarlinOptions, expotion_encoders
from expotion_face_marlin.encoder import FaceMarlinEncoder, load_network
from expotion_face_marlin.windows import place_windows, reference_starts_s, regular_starts_s


@pytest.fixture(scope="module")
def encoder() -> FaceMarlinEncoder:
    return SPEC.build(FaceMarlinOptions())  # type: ignore[return-value]


Blank = Callable[[NDArray[np.float64]], Video]


@pytest.fixture
def blank(fakes: SimpleNamespace) -> Blank:
    """A grey video at these times."""
    return lambda times_s: fakes.video(np.full((len(times_s), 16, 16, 3), 80, dtype=np.uint8), times_s)


def test_announcement() -> None:
    assert [spec.name for spec in expotion_encoders()] == ["face_marlin"]
    options = FaceMarlinOptions()
    assert (SPEC.width(options), SPEC.rate_hz(options), SPEC.needs) == (96, 5.0, {"video"})
    assert SPEC.width(FaceMarlinOptions(geometry="large")) == 1024
    assert SPEC.rate_hz(FaceMarlinOptions(window_rate_hz=10, reference_windows=True)) == 5.0
    assert not SPEC.weights(options)[0].non_commercial
    official = SPEC.weights(FaceMarlinOptions(geometry="base"))[0]
    assert (official.licence, official.non_commercial) == ("CC-BY-NC-4.0", True)
    with pytest.raises(ValidationError, match="wieghts"):
        FaceMarlinOptions(wieghts="x")  # type: ignore[call-arg]


def test_a_face(encoder: FaceMarlinEncoder, face_video: Video, fakes: SimpleNamespace) -> None:
    """2 s at 25 fps: ten windows of 0.2 s, five frames each, all valid; the same again, bit for bit."""
    track = encoder.extract(fakes.clip(face_video, 2.0))
    assert track.values.shape == (10, 96)
    assert track.valid.all()
    # A window at 80 Hz over 25 fps shows its frames for 4, 3, 3, 3, 3 samples: their mean is 0.075 s.
    np.testing.assert_allclose(track.times_s, np.arange(10) * 0.2 + 0.075, atol=1e-9)
    again = encoder.extract(fakes.clip(face_video, 2.0))
    np.testing.assert_array_equal(track.values, again.values)
    assert track.values.std(axis=0).max() > 0.05


def test_frozen(encoder: FaceMarlinEncoder) -> None:
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert not encoder.model.training
    assert len(encoder.weights_hash) == 64


def test_no_face(encoder: FaceMarlinEncoder, fakes: SimpleNamespace, blank: Blank) -> None:
    track = encoder.extract(fakes.clip(blank(np.arange(50) / 25.0), 2.0))
    assert track.values.shape == (10, 96)
    assert track.coverage == 0.0
    assert not track.values.any()


def test_no_picture(encoder: FaceMarlinEncoder, fakes: SimpleNamespace) -> None:
    with pytest.raises(MediaError, match="fake: a picture for face_marlin, got none"):
        encoder.extract(fakes.clip(None, 2.0))


def test_the_same_motion_at_many_frame_rates(encoder: FaceMarlinEncoder, fakes: SimpleNamespace) -> None:
    """12 to 60 fps and variable: features at the same times point the same way.

    The shipped tiny weights look at differences from an average face, which makes them sensitive to how the crop
    sits: least agreement 0.72 at a variable rate, mean 0.83 there and 0.95 at 12 fps.
    """
    rng = np.random.default_rng(0)
    grids = {str(fps): np.arange(round(2 * fps)) / fps for fps in (12.0, 24.0, 30000 / 1001, 60.0)}
    grids["variable"] = np.concatenate([[0.0], np.cumsum(rng.choice([1 / 30, 1 / 25, 1 / 20], 46))])
    at_s = np.linspace(0.3, 1.6, 9)
    tracks = {}
    for name, times_s in grids.items():
        track = encoder.extract(fakes.clip(fakes.video(fakes.face_frames(times_s), times_s), 2.0))
        assert track.valid.all(), name
        tracks[name] = np.stack([np.interp(at_s, track.times_s, column) for column in track.values.T], axis=1)
    reference = tracks.pop("60.0")
    for name, values in tracks.items():
        norms = np.linalg.norm(values, axis=1) * np.linalg.norm(reference, axis=1)
        cosine = (values * reference).sum(axis=1) / norms
        assert cosine.min() > 0.7, (name, cosine)
        assert cosine.mean() > 0.8, (name, cosine)


def test_decoding_stops_in_the_middle(
    encoder: FaceMarlinEncoder, face_video: Video, fakes: SimpleNamespace
) -> None:
    video = fakes.video(face_video.frames_at(face_video.frame_times_s), face_video.frame_times_s, until_s=1.0)
    track = encoder.extract(fakes.clip(video, 2.0))
    assert track.valid.tolist() == [True] * 5 + [False] * 5


def test_sound_longer_than_picture(encoder: FaceMarlinEncoder, face_video: Video, fakes: SimpleNamespace) -> None:
    track = encoder.extract(fakes.clip(face_video, 3.0))
    assert track.valid.tolist() == [True] * 10 + [False] * 5
    assert bool(np.all(np.diff(track.times_s) > 0))


def test_one_frame(encoder: FaceMarlinEncoder, face_video: Video, fakes: SimpleNamespace) -> None:
    """Shorter than a window: padded by the last frame."""
    track = encoder.extract(fakes.clip(fakes.video(face_video.frames_at(np.zeros(1)), np.zeros(1)), 0.04))
    assert track.values.shape == (1, 96)
    assert track.valid.all()


def test_whole_frames_as_crops(face_video: Video, fakes: SimpleNamespace, blank: Blank) -> None:
    encoder = FaceMarlinEncoder(SPEC, FaceMarlinOptions(crop="frame"))
    assert encoder.extract(fakes.clip(blank(np.arange(50) / 25.0), 2.0)).valid.all()


def test_each_frame_is_cropped_once(encoder: FaceMarlinEncoder, face_video: Video, fakes: SimpleNamespace) -> None:
    video = fakes.video(face_video.frames_at(face_video.frame_times_s), face_video.frame_times_s)
    encoder.extract(fakes.clip(video, 2.0))
    assert video.asked <= 50 + 10  # every frame for the crops, ten for detection


def test_reference_windows() -> None:
    """800 frames at 80 Hz give 49 windows, 801 to 816 give 50, up to 16 one."""
    counts = {n: len(reference_starts_s(n / 80, 16)) for n in (1, 16, 17, 32, 33, 800, 801, 816, 817)}
    assert counts == {1: 1, 16: 1, 17: 1, 32: 1, 33: 2, 800: 49, 801: 50, 816: 50, 817: 51}
    np.testing.assert_allclose(reference_starts_s(10.0, 16)[:3], [0.0, 0.2, 0.4])


def test_regular_windows() -> None:
    counts = {s: len(regular_starts_s(s, 5.0)) for s in (0.01, 0.2, 0.29, 0.31, 10.0, 10.01)}
    assert counts == {0.01: 1, 0.2: 1, 0.29: 1, 0.31: 2, 10.0: 50, 10.01: 50}


def test_placing_at_80_hz(blank: Blank) -> None:
    """An 80 fps video: the samples are its frames."""
    windows = place_windows(blank(np.arange(80) / 80.0), np.array([0.0, 0.2]), 16, 1.0)
    np.testing.assert_array_equal(windows.frame, np.arange(32).reshape(2, 16))
    np.testing.assert_allclose(windows.times_s, [7.5 / 80, 0.2 + 7.5 / 80])


def test_times_increase_below_the_window_rate(blank: Blank) -> None:
    windows = place_windows(blank(np.array([0.0, 1.0, 2.0])), regular_starts_s(3.0, 5.0), 16, 3.0)
    np.testing.assert_allclose(windows.times_s, np.arange(15) * 0.2 + 0.1)
    assert windows.seen.all()


def test_seeded_weights_differ_from_the_shipped_ones() -> None:
    model, _, name = load_network(FaceMarlinOptions(weights_seed=3))
    same, _, _ = load_network(FaceMarlinOptions(weights_seed=3))
    shipped, _, _ = load_network(FaceMarlinOptions())
    assert name == "seed-3"
    weight = model.blocks[0].attn.qkv.weight
    torch.testing.assert_close(weight, same.blocks[0].attn.qkv.weight, atol=0, rtol=0)
    assert not torch.allclose(weight, shipped.blocks[0].attn.qkv.weight)


def test_shipped_weights_are_small_and_beat_random_ones() -> None:
    assert TINY_WEIGHTS.stat().st_size < 2.5e6
    report = json.loads(TINY_WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
    assert report["probe_trained"]["r_within"] > report["probe_random"]["r_within"] + 0.1
    assert report["probe_trained"]["r2"] > report["probe_random"]["r2"] + 0.1
