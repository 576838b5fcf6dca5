"""Every picture that a player shows of a source is in the result; a picture encoded anew is said."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from media import MATRICES, encode, remux, shown, turn

from expotion.errors import MediaError
from expotion.video.frames import FileVideo
from expotion.video.mux import mux_video
from expotion.video.scan import scan

RATE_HZ = 32_000
MUSIC = (0.2 * np.random.default_rng(0).normal(size=2 * RATE_HZ)).astype(np.float32)


def put(source: Path, out: Path, **options: object) -> list[str]:
    """Put music under a source; what was said."""
    said: list[str] = []
    mux_video(source, MUSIC, RATE_HZ, out, warn=said.append, **options)
    return said


def assert_copied(source: Path, out: Path) -> None:
    assert put(source, out) == []
    (was_s, was), (now_s, now) = shown(source), shown(out)
    assert len(now) == len(was)
    assert now_s == pytest.approx(was_s, abs=1.1e-3)
    assert all(np.array_equal(a, b) for a, b in zip(was, now, strict=True))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one_keyframe.mkv", {"b_frames": 3}),
        ("open_gop.mkv", {"b_frames": 3, "gop": 10, "options": {"x264-params": "open-gop=1:log-level=0"}}),
        ("hevc.mkv", {"codec": "libx265", "b_frames": 3, "options": {"x265-params": "log-level=none"}}),
        ("bframes.ts", {"b_frames": 2}),
        ("bframes.flv", {"b_frames": 2}),
        ("late.mp4", {"b_frames": 2, "start_s": 1.0}),
    ],
)
def test_pictures_whose_order_is_not_that_of_their_times(tmp_path, name, options, suffix):
    assert_copied(encode(tmp_path / name, n=16, **options), tmp_path / f"out.{suffix}")


def test_h264_in_a_piped_webm(tmp_path):
    encode(tmp_path / "piped.webm", n=12, format="matroska", b_frames=2, container={"live": "1"})
    assert_copied(tmp_path / "piped.webm", tmp_path / "out.mp4")


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_what_is_written_can_be_read(tmp_path, suffix):
    source = encode(tmp_path / "a.mp4", n=15, b_frames=3, gop=6, sound="aac")
    put(source, tmp_path / f"once.{suffix}", keep_original_sound=True)
    assert_copied(tmp_path / f"once.{suffix}", tmp_path / f"twice.{suffix}")


COPIED = [
    ("mp4 mkv mov", "h264", {"codec": "libx264", "b_frames": 2}),
    ("mp4 mkv mov", "hevc", {"codec": "libx265", "options": {"x265-params": "log-level=none"}}),
    ("mp4 mkv webm", "av1", {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}),
    ("mp4 mkv webm", "vp9", {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ("mkv webm", "vp8", {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}}),
    ("mp4 mkv mov", "mpeg4", {"codec": "mpeg4"}),
    ("mov mkv", "prores", {"codec": "prores_ks", "pixel_format": "yuv422p10le"}),
    ("mov mkv", "mjpeg", {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    ("mkv", "ffv1", {"codec": "ffv1"}),
    ("mkv", "mpeg2video", {"codec": "mpeg2video"}),
    ("mkv", "mpeg1video", {"codec": "mpeg1video"}),
]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        pytest.param(suffix, options, id=f"{codec}-{suffix}")
        for suffixes, codec, options in COPIED
        for suffix in suffixes.split()
    ],
)
def test_every_codec_that_is_said_to_be_copied_is(tmp_path, suffix, options):
    source = encode(tmp_path / f"source.{suffix}", n=8, **options)
    out = tmp_path / f"out.{suffix}"
    assert put(source, out, must_copy=True) == []
    pictures = shown(out)[1]
    assert len(pictures) == 8
    assert np.array_equal(pictures[7], shown(source)[1][7])


def test_one_decoding_time_twice(tmp_path):
    encode(tmp_path / "a.mkv")

    def twice(number, packet):
        if number == 5:
            packet.dts -= 33

    remux(tmp_path / "a.mkv", tmp_path / "twice.mkv", twice)
    assert_copied(tmp_path / "twice.mkv", tmp_path / "out.mp4")


def test_files_put_one_behind_the_other(tmp_path, capfd):
    for name, b_frames in (("a.ts", 0), ("b.ts", 2)):
        encode(tmp_path / name, b_frames=b_frames, sound="aac")
    (tmp_path / "both.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    said = put(tmp_path / "both.ts", tmp_path / "out.mp4", keep_original_sound=True)
    assert any("the picture is encoded anew (its times start again in the middle)" in text for text in said)
    assert any("own sound is encoded anew" in text for text in said)
    made = scan(tmp_path / "out.mp4")
    assert (len(made.picture.pts), made.duration_s) == (60, pytest.approx(2.0, abs=0.1))
    assert "non monoton" not in capfd.readouterr().err


def test_it_begins_between_two_keyframes(tmp_path):
    encode(tmp_path / "a.ts", gop=10)
    packets = []
    with av.open(str(tmp_path / "a.ts")) as read:
        packets = [p.pos for p in read.demux(video=0) if p.size]
    data = (tmp_path / "a.ts").read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: 188 * 3] + data[packets[4] :])
    said = put(tmp_path / "cut.ts", tmp_path / "out.mp4")
    assert said == ["the picture is encoded anew (it begins between two keyframes)"]
    assert FileVideo(tmp_path / "out.mp4").duration_s == pytest.approx(26 / 30, abs=0.05)


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("name", MATRICES)
def test_eight_ways_to_hold_a_camera(tmp_path, name, suffix):
    a, b, c, d = MATRICES[name]
    source = encode(tmp_path / "a.mp4", n=4, options={"crf": "8"})
    stored = FileVideo(source).frames_at(np.array([0.0]))[0]
    turn(source, MATRICES[name])
    # Where each stored pixel is shown: x' = a x + c y, y' = b x + d y, moved so that the least is 0.
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    upright = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    upright[to_y, to_x] = stored
    seen = FileVideo(source).frames_at(np.array([0.0]))[0]
    assert np.abs(seen.astype(int) - upright).mean() < 1.0
    said = put(source, tmp_path / f"out.{suffix}")
    now = FileVideo(tmp_path / f"out.{suffix}").frames_at(np.array([0.0]))[0]
    assert np.abs(now.astype(int) - upright).mean() < 12.0
    mirrored = a * d - b * c < 0
    anew = suffix == "webm" or (suffix == "mkv" and mirrored)
    assert ["the picture is encoded anew" in text for text in said] == [True] * anew


def test_the_stream_marked_default_is_used_and_that_is_said(tmp_path):
    encode(tmp_path / "video.mkv", n=30)
    encode(tmp_path / "still.mkv", n=1)
    with (
        av.open(str(tmp_path / "still.mkv")) as still,
        av.open(str(tmp_path / "video.mkv")) as video,
        av.open(str(tmp_path / "both.mkv"), "w") as out,
    ):
        first = out.add_stream_from_template(still.streams.video[0])
        second = out.add_stream_from_template(video.streams.video[0])
        first.disposition, second.disposition = 0, av.stream.Disposition.default.value
        for read, stream in ((still, first), (video, second)):
            for packet in read.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    assert len(scan(tmp_path / "both.mkv").picture.pts) == 30
    from expotion.video.clip import FileClip

    told = FileClip(tmp_path / "both.mkv", require="video").warnings
    assert any("2 pictures in one file: number 2 is used" in text for text in told)


def test_a_picture_that_no_container_takes_is_an_error_before_music_is_made(tmp_path):
    source = encode(tmp_path / "a.webm", "libvpx-vp9", n=4, options={"deadline": "realtime", "cpu-used": "8"})
    with pytest.raises(MediaError, match="a picture that mov holds"):
        put(source, tmp_path / "out.mov", must_copy=True)
    assert not (tmp_path / "out.mov").exists()


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_avi(tmp_path, codec):
    """Times in an avi are those of decoding; without B-frames they are the same."""
    assert_copied(encode(tmp_path / "a.avi", codec, n=20, gop=10), tmp_path / "out.mp4")


def test_a_stream_of_data_in_a_ts(tmp_path):
    source = tmp_path / "a.ts"
    with av.open(str(encode(tmp_path / "plain.mp4", n=20))) as read, av.open(str(source), "w") as out:
        video = out.add_stream_from_template(read.streams.video[0])
        data = out.add_data_stream("bin_data")
        for number, packet in enumerate(read.demux(video=0)):
            if packet.size:
                note = av.Packet(b"\x00\x04note")
                note.stream, note.pts, note.dts, note.duration = data, packet.pts, packet.pts, 1
                note.time_base = packet.time_base
                packet.stream = video
                out.mux(packet)
                if number % 5 == 0:
                    out.mux(note)
    with av.open(str(source)) as read:
        assert [stream.type for stream in read.streams] == ["video", "data"]
    assert_copied(source, tmp_path / "out.mp4")


def test_a_track_of_telemetry_in_an_mp4(tmp_path):
    """As action cameras write it: a second track of the kind `meta`, here a picture's whose boxes say so."""
    source = tmp_path / "a.mp4"
    pictures = [encode(tmp_path / "one.mp4", n=20), encode(tmp_path / "two.mp4", "mpeg4", n=20)]
    with av.open(str(source), "w") as out:
        opened = [av.open(str(path)) for path in pictures]
        streams = [out.add_stream_from_template(read.streams.video[0]) for read in opened]
        for read, stream in zip(opened, streams, strict=True):
            for packet in read.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
            read.close()
    data = source.read_bytes()
    at = data.rindex(b"vide")
    source.write_bytes(data[:at] + data[at:].replace(b"vide", b"meta", 1).replace(b"mp4v", b"gpmd", 1))
    with av.open(str(source)) as read:
        assert [stream.type for stream in read.streams] == ["video", "data"]
    assert_copied(source, tmp_path / "out.mp4")


def test_a_cover_picture_is_no_video(tmp_path):
    from av.stream import Disposition

    source = tmp_path / "a.mp4"
    encode(tmp_path / "cover.mkv", "mjpeg", n=1, pixel_format="yuvj420p")
    with (
        av.open(str(encode(tmp_path / "plain.mp4", n=20))) as read,
        av.open(str(tmp_path / "cover.mkv")) as cover,
        av.open(str(source), "w") as out,
    ):
        first = out.add_stream_from_template(cover.streams.video[0])
        first.disposition = Disposition.attached_pic.value
        video = out.add_stream_from_template(read.streams.video[0])
        for stream, container in ((first, cover), (video, read)):
            for packet in container.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    with av.open(str(source)) as read:
        assert len(read.streams.video) == 2
    put(source, tmp_path / "out.mp4")
    assert scan(source).picture.codec == "h264"
    assert len(shown(tmp_path / "out.mp4")[1]) == 20


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("gop", [10, 250])
def test_an_edit_list_that_leaves_the_beginning_out(tmp_path, gop, suffix):
    """A phone's cut: the file keeps thirty pictures, the list says that a player begins with the thirteenth."""
    source = encode(tmp_path / "a.mp4", n=30, gop=gop, b_frames=2)
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 4
    assert data[at] == 0  # version: times of 4 bytes
    tick_hz = scan(source).picture.packets.tick_s
    cut = 12 / 30
    length, begin = struct.unpack(">Ii", data[at + 8 : at + 16])
    data[at + 8 : at + 16] = struct.pack(">Ii", round(length * 18 / 30), begin + round(cut / tick_hz))
    source.write_bytes(bytes(data))
    was_s, was = shown(source)
    put(source, tmp_path / f"out.{suffix}")
    now_s, now = shown(tmp_path / f"out.{suffix}")
    assert len(was) == len(now) == 18
    assert now_s == pytest.approx(was_s, abs=1.1e-3)
    likeness = [np.abs(a.astype(int) - b).mean() for a, b in zip(was, now, strict=True)]
    assert max(likeness) < 6  # copied or encoded anew, the pictures are those that were shown
