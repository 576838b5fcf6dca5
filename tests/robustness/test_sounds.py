"""Sound as cameras, editing programs and recorders write it."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import encode

from expotion.video.audio import load_audio
from expotion.video.clip import FileClip
from expotion.video.mux import mux_video

RATE_HZ = 48_000


def many_channels(path: Path, layout: str, n_channels: int, tag: int | None) -> Path:
    """A mov of 1 s with PCM sound whose channels lie in an order of their own (`chan` box, layout `tag`)."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=RATE_HZ, layout=layout)
        for i in range(10):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8), format="rgb24")
            image.pts, image.time_base = i, Fraction(1, 10)
            out.mux(video.encode(image))
        out.mux(video.encode(None))
        tone = (9000 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(tone, n_channels)[None, :], "s16", layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    if tag is None:
        return path
    data = bytearray(path.read_bytes())
    at = data.index(b"chan") + 8
    data[at : at + 4] = struct.pack(">I", tag << 16 | n_channels)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(("layout", "n_channels", "tag"), [("7.1", 8, 127), ("6.1", 7, 142), ("5.1", 6, 124)])
def test_channels_in_an_order_of_their_own(tmp_path, layout, n_channels, tag):
    path = many_channels(tmp_path / "camera.mov", layout, n_channels, tag)
    for _ in range(5):  # memory that was freed twice shows after some rounds
        clip = FileClip(path)
        assert clip.scanned.sound.channels == n_channels
        sound = clip.audio(RATE_HZ)
        assert np.abs(sound).max() == pytest.approx(9000 / 32768, abs=0.01)
        mux_video(path, sound, RATE_HZ, tmp_path / "out.mkv", keep_original_sound=True)
    assert len(load_audio(tmp_path / "out.mkv", RATE_HZ)) == RATE_HZ


@pytest.mark.parametrize(("layout", "n_channels"), [("22.2", 24), ("hexadecagonal", 16), ("octagonal", 8)])
def test_sound_from_all_around(tmp_path, layout, n_channels):
    path = many_channels(tmp_path / "round.mov", layout, n_channels, tag=None)
    sound = FileClip(path).audio(RATE_HZ)
    assert np.abs(sound).max() == pytest.approx(9000 / 32768, abs=0.01)
    mux_video(path, sound, RATE_HZ, tmp_path / "out.mp4", keep_original_sound=True)
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert [stream.codec_context.channels for stream in out.streams.audio] == [1, 2]


def test_sound_of_zero_length(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(encode(tmp_path / "picture.mov"))) as read, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(read.streams.video[0])
        out.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    clip = FileClip(path, require="video")
    assert (clip.has_audio, clip.duration_s) == (False, pytest.approx(1.0, abs=0.05))
    mux_video(path, np.zeros(RATE_HZ, np.float32), RATE_HZ, tmp_path / "out.mp4", keep_original_sound=True)
    assert FileClip(tmp_path / "out.mp4").has_audio


def test_samples_that_are_no_numbers_are_silent_and_counted(tmp_path):
    samples = (0.2 * np.sin(np.arange(2 * RATE_HZ) * 0.05)).astype(np.float32)
    samples[[4000, 40_000]] = np.inf
    samples[50_000] = np.nan
    path = tmp_path / "inf.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :], "flt", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = FileClip(path)
    heard = clip.audio(RATE_HZ)
    assert np.abs(heard).max() < 0.21
    assert heard[40_000] == 0.0
    assert any("3 samples are no finite numbers and are taken as 0" in text for text in clip.warnings)


def test_a_rate_that_changes_in_the_middle_leaves_no_hole(tmp_path):
    encode(tmp_path / "a.ts", sound="mp2", rate_hz=48_000)
    encode(tmp_path / "b.ts", sound="mp2", rate_hz=44_100, start_s=1.0)
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    sound = load_audio(tmp_path / "both.ts", RATE_HZ)
    assert len(sound) == pytest.approx(2 * RATE_HZ, abs=RATE_HZ // 10)
    level = np.sqrt(np.mean(sound[: len(sound) // 480 * 480].reshape(-1, 480) ** 2, axis=1))[5:-12]
    holes = level < 0.5 * np.median(level)
    assert holes.sum() <= 3  # each at most 30 ms, where the first file's last frame ends
    # A sine of this level moves by 0.016 from sample to sample; blocks resampled one by one click.
    assert np.abs(np.diff(sound[4800:-4800])).max() < 0.03
