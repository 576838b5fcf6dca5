"""The same motion in files of every kind gives the same track; what cannot be decoded is not valid."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from media import MATRICES, turn

from expotion.contracts import TimedFeatures
from expotion.features.extract import extract_many
from expotion.testing import moving_shapes
from expotion.video.clip import FileClip
from expotion.video.writing import write_video
from expotion_motion_synchformer import SynchformerOptions
from expotion_motion_synchformer.encoder import SynchformerEncoder

DURATION_S = 2.0
PLAIN_S = np.arange(50) / 25
VARIABLE_S = np.cumsum(np.r_[0.0, np.tile([0.02, 0.05, 0.03], 20)])[:60]
SCENE = moving_shapes(beat_hz=1.2)


@pytest.fixture(scope="module")
def encoder():
    return SynchformerEncoder(SynchformerOptions())


def draw(times_s, scene=SCENE):
    return [scene(float(time_s)) for time_s in times_s]


def track_of(encoder, path):
    clip = FileClip(path, require="video")
    found = encoder.extract(clip)
    clip.close()
    return found


@pytest.fixture(scope="module")
def plain(encoder, tmp_path_factory):
    """The track of an ordinary mp4, and how far another motion is from it."""
    folder = tmp_path_factory.mktemp("plain")
    write_video(folder / "a.mp4", draw(PLAIN_S), PLAIN_S)
    write_video(folder / "b.mp4", draw(PLAIN_S, moving_shapes(beat_hz=2.1, direction_rad=0.4)), PLAIN_S)
    track, other = (track_of(encoder, folder / name) for name in ("a.mp4", "b.mp4"))
    return track, float(np.sqrt(np.mean((track.values - other.values) ** 2)))


def moved(path, target, shift_s):
    """The same packets with all timestamps later by `shift_s`."""
    with av.open(str(path)) as source, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                ticks = round(shift_s / float(packet.time_base))
                packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
                out.mux(packet)


FILES = {
    "a.mov": {},
    "a.mkv": {},
    "a.webm": {},
    "bframes.mp4": {"b_frames": 2, "keyframe_every": 10},
    "turned.mp4": {},
    "ten.mkv": {"pixel_format": "yuv420p10le"},
    "odd.mp4": {"pixel_format": "yuv444p"},
    "variable.mp4": {},
    "late.mkv": {},
    "early.mp4": {},
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_track_of_the_plain_one(encoder, plain, tmp_path, name):
    times_s = VARIABLE_S if name == "variable.mp4" else PLAIN_S
    frames = draw(times_s)
    if name == "turned.mp4":
        frames = [np.ascontiguousarray(np.rot90(frame, -1)) for frame in frames]
    if name == "odd.mp4":
        frames = [frame[:95, :95] for frame in frames]
    path = tmp_path / name
    if name == "late.mkv":
        write_video(tmp_path / "source.mp4", frames, times_s)
        moved(tmp_path / "source.mp4", path, 5.0)
    elif name == "early.mp4":  # an edit list: half a second that is not shown comes first
        lead_s = np.arange(-12, 0) / 25
        write_video(tmp_path / "source.mp4", draw(lead_s) + frames, np.concatenate((lead_s, times_s)) + 0.48)
        moved(tmp_path / "source.mp4", path, -0.48)
    else:
        write_video(path, frames, times_s, duration_s=DURATION_S, **FILES[name])
    if name == "turned.mp4":
        turn(path, MATRICES["a quarter to the left"])
    track = track_of(encoder, path)
    wanted, scale = plain
    np.testing.assert_allclose(track.times_s, wanted.times_s)
    assert track.valid.all()
    distance = float(np.sqrt(np.mean((track.values - wanted.values) ** 2)))
    assert distance < (0.3 if name == "variable.mp4" else 0.15) * scale


def test_the_rest_of_a_file_that_stops_decoding_is_used(encoder, plain, tmp_path):
    path = tmp_path / "cut.mp4"
    write_video(path, draw(PLAIN_S), PLAIN_S, keyframe_every=10)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle:] = np.random.default_rng(0).integers(0, 256, len(data) - middle, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(data))
    clip = FileClip(path, require="video")
    out = extract_many({"motion": encoder}, [clip])
    track = out.features["cut"]["motion"]
    assert isinstance(track, TimedFeatures)
    until_s = clip.video.decodable_until_s
    assert out.failures == [] and any("stop decoding" in text for text in out.warnings)
    assert 0.3 < until_s < 1.7
    np.testing.assert_array_equal(track.valid, track.times_s + 0.04 < until_s)
    wanted = plain[0].values[: int(track.valid.sum()) // 2]
    assert np.sqrt(np.mean((track.values[: len(wanted)] - wanted) ** 2)) < 0.5 * plain[1]


def transport_stream(path, frames, first):
    """Frames as MPEG-TS, timestamps from `first` / 25 on: such files may be put one behind the other."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "10", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.time_base = Fraction(1, 25)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first + number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def test_a_stream_that_changes_size_is_scaled_to_its_first_size(encoder, plain, tmp_path):
    frames = draw(PLAIN_S)
    large = [np.ascontiguousarray(frame.repeat(2, 0).repeat(2, 1)) for frame in frames]
    transport_stream(tmp_path / "one.ts", frames[:26], 0)
    transport_stream(tmp_path / "two.ts", large[26:], 26)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "two.ts").read_bytes())
    clip = FileClip(path, require="video")
    assert clip.video.size == (96, 96)
    assert not any("size" in text for text in clip.warnings)
    track = encoder.extract(clip)
    assert any("the picture changes its size" in text for text in clip.warnings)
    wanted, scale = plain
    assert track.valid.all()
    n = min(len(track.times_s), len(wanted.times_s))
    assert n >= 24
    assert np.sqrt(np.mean((track.values[:n] - wanted.values[:n]) ** 2)) < 0.3 * scale


def test_a_sound_track_of_no_length_does_not_matter(encoder, plain, tmp_path):
    path = tmp_path / "silent.mp4"
    write_video(tmp_path / "a.mp4", draw(PLAIN_S), PLAIN_S)
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(source.streams.video[0])
        out.add_stream("aac", rate=48_000)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    clip = FileClip(path, require="video")
    assert not clip.has_audio
    assert clip.audio(16_000) is None
    np.testing.assert_allclose(encoder.extract(clip).values, plain[0].values, atol=1e-5)
