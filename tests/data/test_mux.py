"""Writing and muxing: lengths, copied pictures, sound in step, complete files or none."""

import errno
import os

import numpy as np
import pytest

from expotion.data.audio import load_audio
from expotion.data.mux import mux_video, write_video, write_wav
from expotion.data.probe import probe
from expotion.data.video import FileVideo
from expotion.errors import MediaError, OutputError

RATE_HZ = 32_000


def click(duration_s: float, at_s: float) -> np.ndarray:
    samples = np.zeros(round(duration_s * RATE_HZ), np.float32)
    samples[round(at_s * RATE_HZ) : round(at_s * RATE_HZ) + 32] = 0.9
    return samples


def test_wav_round_trip_is_clipped_and_16_bit(tmp_path):
    samples = np.array([0.0, 0.5, -0.5, 3.0, -3.0], np.float32)
    write_wav(tmp_path / "new" / "a.wav", samples, 16_000)
    read = load_audio(tmp_path / "new" / "a.wav", 16_000)
    assert read == pytest.approx([0, 0.5, -0.5, 1, -1], abs=1e-4)
    assert os.listdir(tmp_path / "new") == ["a.wav"]


@pytest.mark.parametrize(("suffix", "codecs"), [("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))])
def test_written_video_says_what_it_is(make, suffix, codecs):
    info = probe(make(f"a.{suffix}", fps=25.0, duration_s=1.0, sound=True))
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.codec.removeprefix("lib"), info.audio.codec.removeprefix("lib")) == codecs
    assert info.duration_s == pytest.approx(1.0, abs=2e-3)
    assert info.video.n_frames == 25
    assert info.video.fps == pytest.approx(25.0, rel=2e-3)
    assert info.audio.duration_s == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ["a.mp4", "bframes.mp4", "a.mkv", "a.webm", "late.mp4", "turned.mp4"])
def test_new_sound_under_a_copied_picture(make, tmp_path, name):
    times_s = np.arange(30) / 30 + 0.25 if name == "late.mp4" else None
    path = make(
        name,
        times_s=times_s,
        sound=name != "a.webm",
        duration_s=1.25,
        rotation_deg=90 if name == "turned.mp4" else 0,
        b_frames=2 if name == "bframes.mp4" else 0,
    )
    length_s = mux_video(path, click(9.0, 0.5), RATE_HZ, tmp_path / "out.mp4")
    before, after = FileVideo(path), FileVideo(tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    sound = load_audio(tmp_path / "out.mp4", RATE_HZ)
    assert length_s == pytest.approx(before.duration_s, abs=0.01)
    assert info.audio is not None
    assert info.audio.duration_s == pytest.approx(1.25, abs=0.04)
    assert after.frame_times_s == pytest.approx(before.frame_times_s, abs=2e-3)
    assert np.array_equal(after.frames_at(after.frame_times_s), before.frames_at(before.frame_times_s))
    assert np.abs(sound).argmax() / RATE_HZ == pytest.approx(0.5005, abs=0.003)


def test_mp4_can_start_playing_before_it_is_complete(make, tmp_path):
    mux_video(make(), click(1.0, 0.5), RATE_HZ, tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_short_sound_is_padded_and_a_window_is_cut(make, tmp_path):
    path = make(fps=10.0, duration_s=2.0)
    length_s = mux_video(path, click(0.3, 0.2), RATE_HZ, tmp_path / "out.mp4", start_s=0.53, duration_s=1.0)
    video = FileVideo(tmp_path / "out.mp4")
    wanted = FileVideo(path, 0.53, 1.0)
    assert length_s == pytest.approx(1.0, abs=0.01)
    assert video.frame_times_s[1:] == pytest.approx(wanted.frame_times_s[1:], abs=1e-3)
    shown = video.frames_at(wanted.frame_times_s).astype(int) - wanted.frames_at(wanted.frame_times_s)
    assert np.abs(shown).mean() < 3.0
    assert len(load_audio(tmp_path / "out.mp4", RATE_HZ)) == RATE_HZ


def test_damaged_picture_is_encoded_anew_at_full_length(make, tmp_path):
    path = make(duration_s=2.0, keyframe_every=10, sound=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    length_s = mux_video(path, click(2.0, 0.5), RATE_HZ, tmp_path / "out.mp4")
    assert length_s == pytest.approx(2.0, abs=0.05)
    assert FileVideo(tmp_path / "out.mp4").damage is None


def test_full_disk_leaves_the_old_file(make, tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_wav(path, np.zeros(10, np.float32), RATE_HZ)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left.*disk is not full"):
        write_wav(path, np.ones(10, np.float32), RATE_HZ)
    with pytest.raises(OutputError, match="No space left"):
        make("video.mp4")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(
    ("frames", "times_s", "message"),
    [
        ([np.zeros((8, 8, 3), np.uint8)], [0.0, 0.1], "2 frames, got 1"),
        ([], [0.0], "1 frames, got none"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 6, 3), np.uint8)], [0.0, 0.1], "frame 1"),
        ([np.zeros((8, 8, 3), np.uint8)] * 2, [0.1, 0.1], "increase"),
    ],
)
def test_frames_that_do_not_fit_write_nothing(tmp_path, frames, times_s, message):
    with pytest.raises(MediaError, match=message):
        write_video(tmp_path / "a.mp4", frames, np.array(times_s))
    assert os.listdir(tmp_path) == []


def test_sound_only_and_broken_sound_are_refused(make, tmp_path):
    write_wav(tmp_path / "a.wav", click(1.0, 0.5), RATE_HZ)
    with pytest.raises(MediaError, match="sound only"):
        mux_video(tmp_path / "a.wav", click(1.0, 0.5), RATE_HZ, tmp_path / "out.mp4")
    with pytest.raises(MediaError, match="NaN"):
        write_wav(tmp_path / "b.wav", np.full(4, np.nan, np.float32), RATE_HZ)
    with pytest.raises(MediaError, match="codec"):
        make("bad.mp4", codec="libvpx", sound=False)
