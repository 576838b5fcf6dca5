"""Writing and muxing: lengths, copied pictures, sound in step, complete files or none."""

import errno
import os
from pathlib import Path

import av
import numpy as np
import pytest
from media import MATRICES

from expotion.errors import MediaError, OutputError
from expotion.video.audio import load_audio
from expotion.video.decoders import PyAvDecoder
from expotion.video.frames import FileVideo
from expotion.video.mux import mux_video
from expotion.video.scan import scan
from expotion.video.sound_files import write_wav
from expotion.video.writing import write_video

RATE_HZ = 32_000


def click(duration_s: float, at_s: float) -> np.ndarray:
    samples = np.zeros(round(duration_s * RATE_HZ), np.float32)
    samples[round(at_s * RATE_HZ) : round(at_s * RATE_HZ) + 32] = 0.9
    return samples


def packets(path: Path, kind: str = "video", index: int = 0) -> list[tuple[float, bytes]]:
    """Presentation time and bytes of every packet of a stream, in the order of the file."""
    with av.open(str(path)) as container:
        stream = [stream for stream in container.streams if stream.type == kind][index]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def streams(path: Path) -> list[tuple[str, str, bool]]:
    """Kind, codec and whether it is a default track, of every stream."""
    with av.open(str(path)) as container:
        return [
            (s.type, s.codec_context.name.removeprefix("lib"), bool(s.disposition & av.stream.Disposition.default))
            for s in container.streams
        ]


def test_wav_round_trip_is_clipped_and_16_bit(tmp_path):
    samples = np.array([0.0, 0.5, -0.5, 3.0, -3.0], np.float32)
    write_wav(tmp_path / "new" / "a.wav", samples, 16_000)
    read = load_audio(tmp_path / "new" / "a.wav", 16_000)
    assert read == pytest.approx([0, 0.5, -0.5, 1, -1], abs=1e-4)
    assert os.listdir(tmp_path / "new") == ["a.wav"]


@pytest.mark.parametrize(("suffix", "codecs"), [("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))])
def test_written_video_says_what_it_is(make, suffix, codecs):
    made = scan(make(f"a.{suffix}", fps=25.0, duration_s=1.0, sound=True))
    picture, sound = made.picture, made.sound
    assert (picture.codec.removeprefix("lib"), sound.codec.removeprefix("lib")) == codecs
    assert made.duration_s == pytest.approx(1.0, abs=2e-3)
    assert len(picture.pts) == 25
    assert picture.fps == pytest.approx(25.0, rel=2e-3)
    assert sound.end_s - sound.start_s == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("name", ["a.mp4", "bframes.mp4", "a.mkv", "a.webm", "late.mp4", "turned.mp4"])
def test_new_sound_under_a_copied_picture(make, tmp_path, name):
    times_s = np.arange(30) / 30 + 0.25 if name == "late.mp4" else None
    path = make(
        name,
        times_s=times_s,
        sound=name != "a.webm",
        duration_s=1.25,
        matrix=MATRICES["a quarter to the left"] if name == "turned.mp4" else None,
        b_frames=2 if name == "bframes.mp4" else 0,
    )
    length_s = mux_video(path, click(9.0, 0.5), RATE_HZ, tmp_path / "out.mp4")
    before, after = FileVideo(path), FileVideo(tmp_path / "out.mp4")
    heard = scan(tmp_path / "out.mp4").sound
    sound = load_audio(tmp_path / "out.mp4", RATE_HZ)
    assert length_s == pytest.approx(before.duration_s, abs=0.01)
    assert heard.end_s - heard.start_s == pytest.approx(1.25, abs=0.04)
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


SOURCES = {
    "a.mp4": {},
    "bframes.mp4": {"b_frames": 2},
    "turned.mp4": {"matrix": MATRICES["a quarter to the left"]},
    "late.mp4": {"times_s": np.arange(25) / 25 + 0.24, "duration_s": 1.24},
    "uneven.mp4": {"times_s": np.cumsum([0, 0.04, 0.1, 0.02, 0.21, 0.033, 0.5])},
    "a.mkv": {},
    "a.webm": {},
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("name", SOURCES)
def test_packets_are_copied_bit_for_bit_at_their_times(make, tmp_path, name, suffix):
    path = make(name, sound=True, **SOURCES[name])
    if (suffix == ".webm") != (name == "a.webm") and suffix in (".webm", ".mov"):
        with pytest.raises(MediaError, match=f"a picture that {suffix[1:]} holds"):
            mux_video(path, click(2.0, 0.5), RATE_HZ, tmp_path / f"out{suffix}", must_copy=True)
        assert not list(tmp_path.glob("*out*"))
        return
    out = tmp_path / f"out{suffix}"
    mux_video(path, click(2.0, 0.5), RATE_HZ, out, must_copy=True)
    before, after = packets(path), packets(out)
    assert [data for _, data in after] == [data for _, data in before]
    exact = path.suffix == out.suffix == ".mp4"
    begin_s, new_s = before[0][0], after[0][0]
    shift_s = 0.24 if name == "late.mp4" else 0.0
    assert new_s == pytest.approx(shift_s, abs=1e-6 if exact else 2e-3)
    assert [t - new_s for t, _ in after] == pytest.approx(
        [t - begin_s for t, _ in before], abs=1e-6 if exact else 1.1e-3
    )
    was, now = FileVideo(path), FileVideo(out)
    assert (now.size, PyAvDecoder(scan(out)).orientation.rotation_deg) == (was.size, 90 if "turned" in name else 0)
    assert now.frame_times_s == pytest.approx(was.frame_times_s, abs=2e-3)
    sound = load_audio(out, RATE_HZ)
    assert np.abs(sound).argmax() / RATE_HZ == pytest.approx(0.5005, abs=0.004)
    heard = scan(out).sound
    assert heard.end_s - heard.start_s == pytest.approx(was.duration_s, abs=0.021)  # one codec frame is 20 ms


@pytest.mark.parametrize(
    ("name", "suffix", "codecs"),
    [
        ("a.mp4", ".mp4", ("aac", "aac")),
        ("a.mp4", ".mov", ("aac", "aac")),
        ("a.mp4", ".mkv", ("flac", "aac")),
        ("a.webm", ".webm", ("opus", "opus")),
        ("a.webm", ".mp4", ("aac", "opus")),
        ("a.webm", ".mov", ("aac", "aac")),
    ],
)
def test_original_sound_is_the_second_track(make, tmp_path, name, suffix, codecs):
    path, out = make(name, sound=True), tmp_path / f"out{suffix}"
    mux_video(path, click(1.0, 0.5), RATE_HZ, out, keep_original_sound=True)
    assert streams(out)[1:] == [("audio", codecs[0], True), ("audio", codecs[1], False)]
    if codecs[1] == ("opus" if name == "a.webm" else "aac"):
        data = [data for _, data in packets(path, "audio")]
        assert [data for _, data in packets(out, "audio", 1)] == data[1 if suffix == ".mkv" else 0 :]
    begin_s = min(packets(out, "audio", 0)[0][0], packets(out, "audio", 1)[0][0])
    assert begin_s == pytest.approx(0.0, abs=0.033)
    with av.open(str(out)) as container:
        blocks = [frame.to_ndarray().mean(0) for frame in container.decode(container.streams.audio[1])]
    original = np.concatenate(blocks)
    rate_hz = 48_000 if codecs[1] == "opus" or name == "a.webm" else RATE_HZ
    spectrum = np.abs(np.fft.rfft(original[: rate_hz // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)
    assert len(original) / rate_hz == pytest.approx(1.0, abs=0.07)


def test_original_sound_of_a_window_is_cut_at_its_time(make, tmp_path):
    path = tmp_path / "a.mp4"
    frames = [np.zeros((16, 16, 3), np.uint8)] * 30
    write_video(path, frames, np.arange(30) / 10, click(3.0, 2.0), RATE_HZ)
    out = tmp_path / "out.mkv"
    mux_video(path, click(1.0, 0.2), RATE_HZ, out, start_s=1.5, duration_s=1.0, keep_original_sound=True)
    with av.open(str(out)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(container.streams.audio[1])]
    original = np.concatenate(blocks, axis=-1).ravel()
    assert np.abs(original).argmax() / RATE_HZ == pytest.approx(0.5005, abs=0.004)
    assert len(original) / RATE_HZ == pytest.approx(1.0, abs=0.04)


def test_a_silent_clip_has_no_second_track(make, tmp_path):
    mux_video(make(), click(1.0, 0.5), RATE_HZ, tmp_path / "out.mkv", keep_original_sound=True)
    assert [kind for kind, *_ in streams(tmp_path / "out.mkv")] == ["video", "audio"]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_the_same_input_is_the_same_bytes(make, tmp_path, suffix):
    path = make("a.webm" if suffix == ".webm" else "a.mp4", sound=True)
    for name in ("x", "y"):
        out = tmp_path / f"{name}{suffix}"
        mux_video(path, click(1.0, 0.5), RATE_HZ, out, keep_original_sound=True)
    assert (tmp_path / f"x{suffix}").read_bytes() == (tmp_path / f"y{suffix}").read_bytes()


def test_flac_in_mkv_is_the_wav(make, tmp_path, tone):
    mux_video(make(), tone(1.0), RATE_HZ, tmp_path / "out.mkv")
    write_wav(tmp_path / "a.wav", tone(1.0), RATE_HZ)
    made, wav = load_audio(tmp_path / "out.mkv", RATE_HZ), load_audio(tmp_path / "a.wav", RATE_HZ)
    assert np.abs(made - wav).max() <= 2**-15  # libsndfile rounds down


def test_a_name_that_is_no_video(make, tmp_path):
    with pytest.raises(MediaError, match=r"end the name in \.mp4, \.mov, \.mkv, \.webm"):
        mux_video(make(), click(1.0, 0.5), RATE_HZ, tmp_path / "out.avi")


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_wav(path, np.zeros(10, np.float32), RATE_HZ)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left.*disk is not full"):
        write_wav(path, np.ones(10, np.float32), RATE_HZ)
    with pytest.raises(OutputError, match="No space left"):
        write_video(tmp_path / "video.mp4", [np.zeros((8, 8, 3), np.uint8)], np.zeros(1))
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
