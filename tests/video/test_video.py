"""Frames by time: both decoders, containers, rotation, odd sizes, variable rate, offsets, caching."""

import builtins
import math

import numpy as np
import pytest
from media import MATRICES

from expotion import contracts, timeline
from expotion.errors import MediaError
from expotion.video.container import Limits
from expotion.video.frames import FileVideo

VARIABLE = np.array([0.0, 0.03, 0.1, 0.15, 0.3, 0.31, 0.4, 0.55, 0.7, 0.72, 0.9])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {}),
        ("bframes.mp4", {"b_frames": 2, "keyframe_every": 10}),
        ("a.mov", {"sound": True}),
        ("a.mkv", {"sound": True}),
        ("a.webm", {"sound": True}),
        ("variable.mp4", {"times_s": VARIABLE}),
        ("late.mp4", {"times_s": VARIABLE + 0.4, "duration_s": 1.4, "sound": True}),
        ("turned.mp4", {"matrix": MATRICES["a quarter to the left"]}),
        ("odd.mp4", {"size": (47, 95), "pixel_format": "yuv444p"}),
        ("padded.mp4", {"size": (47, 95)}),
    ],
)
def test_decord_and_pyav_give_the_same_frames_and_times(make, name, options):
    path = make(name, **options)
    one, other = FileVideo(path, backend="decord"), FileVideo(path, backend="pyav")
    assert (one.backend, other.backend) == ("decord", "pyav")
    assert np.array_equal(one.frame_times_s, other.frame_times_s)
    assert one.size == other.size
    frames = one.frames_at(one.frame_times_s)
    assert frames.shape == (len(one.frame_times_s), *one.size, 3)
    assert np.array_equal(frames, other.frames_at(other.frame_times_s))
    backwards = other.frame_times_s[::-3]
    fresh = FileVideo(path, backend="pyav")
    assert np.array_equal(fresh.frames_at(backwards), frames[::-3])
    assert isinstance(one, contracts.Video)
    assert one.decodable_until_s == math.inf


def test_decord_timestamps_agree_with_the_container(make):
    import decord

    path = make(times_s=VARIABLE)
    reader = decord.VideoReader(str(path))
    stamps = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    assert FileVideo(path).frame_times_s == pytest.approx(VARIABLE, abs=1e-5)
    assert stamps == pytest.approx(VARIABLE, abs=1e-3)


def test_pyav_takes_over_where_decord_is_missing(make, monkeypatch):
    path = make()
    real = builtins.__import__

    def without_decord(name, *rest, **options):
        if name == "decord":
            raise ImportError("no decord here")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_decord)
    video = FileVideo(path)
    assert video.backend == "pyav"
    assert len(video.frames_at(np.array([0.0, 0.5]))) == 2
    with pytest.raises(MediaError, match="decord"):
        FileVideo(path, backend="decord").frames_at(np.array([0.0]))


@pytest.mark.parametrize(("name", "shift_s"), [("a.mp4", -0.4), ("a.mp4", 5.0), ("a.mkv", 5.0), ("a.ts", 0.4)])
def test_start_offset_and_negative_timestamps(make, tmp_path, name, shift_s):
    """What lies before an mp4's own start is not shown; any other offset vanishes, and nothing is damaged."""
    import av

    path, moved = make("source.mp4"), tmp_path / name
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                ticks = round(shift_s / float(packet.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                out.mux(packet)
    whole, video = FileVideo(path), FileVideo(moved)
    skipped = 10 if shift_s < 0 else 0
    assert video.damage is None
    assert video.frame_times_s == pytest.approx(np.arange(25 - skipped) / 25, abs=2e-3)
    frames = video.frames_at(video.frame_times_s)
    assert np.array_equal(frames, whole.frames_at(whole.frame_times_s)[skipped:])


@pytest.mark.parametrize("name", ["ten.mp4", "ten.mkv"])
def test_ten_bits(make, draw, name):
    video = FileVideo(make(name, pixel_format="yuv420p10le"))
    frames = video.frames_at(video.frame_times_s).astype(int)
    assert video.backend == "pyav"
    assert np.abs(frames - np.stack(draw(video.frame_times_s))).mean() < 3.0


def test_colours_and_rotation(make):
    upright = FileVideo(make()).frames_at(np.array([0.0]))[0]
    turned = FileVideo(make("t.mp4", matrix=MATRICES["a quarter to the left"]))
    assert upright[4, 4] == pytest.approx([220, 30, 30], abs=16)
    assert turned.size == (96, 48)
    assert turned.frames_at(np.array([0.0]))[0] == pytest.approx(np.rot90(upright), abs=2)


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 29.97, 60.0, None])
def test_same_motion_at_any_rate_gives_the_same_track(make, position, fps):
    """Bound: interpolation error of the motion at 12 fps (0.3 * w^2 / 8 / 144) and half a pixel."""
    times_s = None
    if fps is None:
        steps = np.cumsum(np.random.default_rng(1).uniform(1 / 60, 1 / 15, 80))
        times_s = np.concatenate([[0.0], steps[steps < 2.0]])
    video = FileVideo(make(fps=fps or 30.0, duration_s=2.0, times_s=times_s))
    frames = video.frames_at(video.frame_times_s)[:, 24:, :, 1].astype(float).mean(axis=1)
    weight = np.clip(frames - 40.0, 0.0, None)
    centre = (weight * (np.arange(96) + 0.5)).sum(axis=1) / weight.sum(axis=1) / 96
    at = timeline.step_times_s(90, 50.0)
    values, valid = timeline.smooth(
        centre[:, None].astype(np.float32), video.frame_times_s, np.ones(len(centre), np.bool_), at
    )
    bound = 0.3 * (2 * np.pi * 0.8) ** 2 / 8 * np.diff(video.frame_times_s).max() ** 2 + 0.5 / 96
    assert valid.all()
    assert np.abs(values[:, 0] - position(at)).max() < bound
    assert bound < 0.013


def test_shown_frame_and_end_values(make):
    video = FileVideo(make(fps=10.0))
    shown = video.frames_at(np.array([-1.0, 0.0, 0.05, 0.1, 0.19, 5.0]))
    own = video.frames_at(video.frame_times_s)
    assert np.array_equal(shown, own[[0, 0, 0, 1, 1, 9]])


def test_window_counts_from_its_start(make):
    path = make(fps=10.0)
    whole, part = FileVideo(path), FileVideo(path, 0.35, 0.4)
    assert part.frame_times_s == pytest.approx([0.05, 0.15, 0.25, 0.35])
    assert np.array_equal(part.frames_at(np.array([0.15])), whole.frames_at(np.array([0.5])))


def test_each_frame_is_decoded_once_for_all_sizes(make):
    video = FileVideo(make())
    first = video.frames_at(video.frame_times_s, shorter_side=24)
    again = video.frames_at(np.repeat(video.frame_times_s, 2), shorter_side=32)
    assert video.decoded_frames == 25
    assert first.shape == (25, 24, 48, 3)
    assert again.shape == (50, 32, 64, 3)
    fresh = FileVideo(make("b.mp4")).frames_at(video.frame_times_s, shorter_side=32)
    assert np.array_equal(again[::2], fresh)


def test_cache_is_bounded_and_results_do_not_depend_on_it(make):
    path = make()
    frame_bytes = 48 * 96 * 3
    small = FileVideo(path, cache_bytes=3 * frame_bytes)
    frames = small.frames_at(small.frame_times_s)
    assert small.cached_bytes <= 3 * frame_bytes
    assert np.array_equal(frames, FileVideo(path).frames_at(small.frame_times_s))
    small.close()
    assert small.cached_bytes == 0
    assert np.array_equal(small.frames_at(np.array([0.4])), frames[10:11])


def test_announced_sizes_come_from_one_decode(make):
    video = FileVideo(make(), cache_bytes=40 * 12 * 24 * 3 + 40 * 16 * 32 * 3)
    video.request_sizes(12, 16)
    video.frames_at(video.frame_times_s, shorter_side=12)
    video.frames_at(video.frame_times_s, shorter_side=16)
    assert video.decoded_frames == 25


def test_frames_over_the_working_size_are_reduced(make):
    video = FileVideo(make(), limits=Limits(work_shorter_side=24))
    assert video.size == (24, 48)
    assert video.frames_at(np.array([0.0])).shape == (1, 24, 48, 3)


def test_too_large_a_result_is_refused(make):
    video = FileVideo(make())
    with pytest.raises(MediaError, match="smaller batches"):
        video.frames_at(np.zeros(400_000))
    with pytest.raises(MediaError, match="pixels"):
        FileVideo(make("b.mp4"), limits=Limits(max_pixels=1000))
