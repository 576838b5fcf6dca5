"""Every unusable file ends in one clear error; damaged ones are used as far as they go."""

import math

import av
import numpy as np
import pytest

from expotion.errors import MediaError
from expotion.video.clip import FileClip
from expotion.video.container import Limits
from expotion.video.frames import FileVideo
from expotion.video.scan import check, scan
from expotion.video.sound_files import write_wav


@pytest.fixture
def bad(tmp_path, make):
    rng = np.random.default_rng(0)
    whole = make("whole.mp4").read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(rng.integers(0, 256, 20_000, dtype=np.uint8).tobytes())
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "header.mp4").write_bytes(whole[:400])
    (tmp_path / "folder.mp4").mkdir()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/whole.mp4\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    write_wav(tmp_path / "sound.wav", np.zeros(3200, np.float32), 32_000)
    write_wav(tmp_path / "zero.wav", np.zeros(0, np.float32), 32_000)
    make("one.mp4", times_s=np.array([0.0]), duration_s=0.04)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mp4", "no such file; check the path"),
        ("empty.mp4", "empty, got 0 bytes; copy or download"),
        ("noise.mp4", "cannot be read as video or audio"),
        ("text.mp4", "cannot be read as video or audio"),
        ("list.m3u8", "cannot be read as video or audio"),
        ("header.mp4", "unknown format"),
        ("folder.mp4", "a folder"),
        ("sound.wav", "sound only; give a video file"),
        ("zero.wav", "no samples"),
        ("one.mp4", "at least two frames, got one frame"),
    ],
)
def test_unusable_as_a_video(bad, name, message):
    with pytest.raises(MediaError, match=message) as caught:
        FileClip(bad / name, require="video")
    assert len(caught.value.problems) == 1
    assert str(bad / name) in str(caught.value)
    assert caught.value.problems[0].fix
    with pytest.raises(MediaError, match=message):
        check(scan(bad / name), "video")


def test_silent_video_where_sound_is_required(make):
    with pytest.raises(MediaError, match="with sound"):
        FileClip(make(), require="audio")


def test_one_frame_is_no_video_but_can_be_looked_at(bad):
    assert len(scan(bad / "one.mp4").picture.pts) == 1
    with pytest.raises(MediaError, match="no movement"):
        FileVideo(bad / "one.mp4")


def test_8k_single_picture(tmp_path):
    """A moving 8K file is reduced like any frame over the working size (test_video)."""
    import cv2

    cv2.imwrite(str(tmp_path / "8k.jpg"), np.zeros((4320, 7680, 3), np.uint8))
    with pytest.raises(MediaError, match="two frames"):
        FileClip(tmp_path / "8k.jpg", require="video")
    with pytest.raises(MediaError, match="pixels, got 7680 x 4320; scale the video down"):
        FileClip(tmp_path / "8k.jpg", limits=Limits(max_pixels=4096 * 2160))


def test_long_files_need_a_window(make):
    path = make(fps=1.0, times_s=np.arange(0.0, 1200.0, 60.0), duration_s=1200.0)
    with pytest.raises(MediaError, match=r"at most 600 s, got 1200.0 s; cut it into parts"):
        FileClip(path)
    assert FileClip(path, 300.0, 200.0).duration_s == 200.0
    assert FileClip(path, limits=Limits(max_duration_s=2000.0)).duration_s == pytest.approx(1200.0)
    with pytest.raises(MediaError, match="bytes"):
        scan(path, limits=Limits(max_bytes=100))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
def test_stream_that_ends_early_repeats_its_last_good_frame(make, name, damage):
    path = make(name, duration_s=2.0, sound=True, keyframe_every=10)
    whole = FileVideo(path)
    good = whole.frames_at(whole.frame_times_s)
    data = path.read_bytes()
    keep = len(data) * 6 // 10
    noise = np.random.default_rng(0).integers(0, 256, len(data) - keep, dtype=np.uint8).tobytes()
    path.write_bytes(data[:keep] + (noise if damage == "noise" else b""))
    clip = FileClip(path, require="video")
    video = clip.video
    until_s = video.decodable_until_s
    n_good = int((whole.frame_times_s < until_s - 1e-6).sum())
    shown = video.frames_at(whole.frame_times_s)
    assert clip.duration_s == pytest.approx(2.0, abs=0.05)
    assert 0.3 < until_s < 1.9
    assert np.array_equal(shown[: n_good - 1], good[: n_good - 1])
    assert np.array_equal(shown[n_good:], np.repeat(shown[n_good - 1 : n_good], 50 - n_good, axis=0))
    assert any("stop decoding" in text for text in clip.warnings)
    assert clip.audio(16_000).shape == (round(clip.duration_s * 16_000),)


def test_hole_in_the_middle_is_bridged(make):
    path = make(duration_s=2.0, keyframe_every=10)
    whole = FileVideo(path)
    good = whole.frames_at(whole.frame_times_s)
    data = bytearray(path.read_bytes())
    middle = (data.index(b"mdat") + len(data)) // 2
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(bytes(data))
    video = FileVideo(path)
    shown = video.frames_at(whole.frame_times_s)
    same = (shown == good).all(axis=(1, 2, 3))
    assert video.damage is not None
    assert video.decodable_until_s == math.inf
    assert same[:15].all()
    assert same[-10:].all()
    assert not same.all()


def test_nothing_decodes(make):
    path = make()
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    with pytest.raises(MediaError, match="no frame decodes"):
        FileClip(path, require="video").video.frames_at(np.array([0.0]))


def test_a_title_that_is_no_utf8_is_passed_over(tmp_path, make):
    whole = make("whole.mkv")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "titled.mkv"), "w") as titled:
        titled.metadata["title"] = "abcdefgh"
        stream = titled.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                titled.mux(packet)
    content = (tmp_path / "titled.mkv").read_bytes()
    assert b"abcdefgh" in content
    (tmp_path / "titled.mkv").write_bytes(content.replace(b"abcdefgh", b"ab\xff\xfe\xe9fgh"))
    assert len(scan(tmp_path / "titled.mkv").picture.times_s) == len(scan(whole).picture.times_s)
