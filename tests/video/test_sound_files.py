"""Sound files: what is written is what was given, every time the same bytes, whole or not at all."""

import errno
import os

import numpy as np
import pytest
import soundfile

from expotion.errors import MediaError, OutputError
from expotion.video.audio import load_audio
from expotion.video.sound_files import SOUND_SUFFIXES, write_sound
from expotion.video.writing import open_output

RATE_HZ = 32_000
CLICK_S = 0.5


@pytest.fixture
def music(tone):
    samples = tone(1.23)
    samples[round(CLICK_S * RATE_HZ) :][:32] = 0.95
    return samples


@pytest.mark.parametrize("suffix", SOUND_SUFFIXES)
def test_every_format_keeps_length_level_and_time(music, tmp_path, suffix):
    path = tmp_path / "new" / f"a{suffix}"
    write_sound(path, music, RATE_HZ)
    read = load_audio(path, RATE_HZ)
    # A reader that does not know how much an encoder padded sees whole frames: mp3's have 1152 samples.
    assert abs(len(read) - len(music)) <= {".mp3": 1152, ".opus": 640}.get(suffix, 0)
    assert np.sqrt(np.mean(read[:RATE_HZ] ** 2)) == pytest.approx(np.sqrt(np.mean(music[:RATE_HZ] ** 2)), rel=0.05)
    shift = np.correlate(read[14_000:18_000], music[14_200:17_800]).argmax() - 200
    assert abs(shift) <= 2
    assert os.listdir(tmp_path / "new") == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", SOUND_SUFFIXES)
def test_the_same_samples_are_the_same_bytes(music, tmp_path, suffix):
    for name in ("a", "b"):
        write_sound(tmp_path / f"{name}{suffix}", music, RATE_HZ)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("suffix", "depth", "subtype", "step"),
    [
        (".wav", "16", "PCM_16", 2**-15),
        (".wav", "24", "PCM_24", 2**-23),
        (".wav", "float", "FLOAT", 1e-9),
        (".flac", "16", "PCM_16", 2**-15),
        (".flac", "24", "PCM_24", 2**-23),
        (".flac", "float", "PCM_24", 2**-23),
    ],
)
def test_depth(music, tmp_path, suffix, depth, subtype, step):
    write_sound(tmp_path / f"a{suffix}", music, RATE_HZ, depth=depth)
    read, _ = soundfile.read(tmp_path / f"a{suffix}")
    assert soundfile.info(tmp_path / f"a{suffix}").subtype == subtype
    assert np.abs(read - music).max() <= step


def test_mp3_decodes_to_exactly_as_many_samples(music, tmp_path):
    write_sound(tmp_path / "a.mp3", music, RATE_HZ)
    assert soundfile.info(tmp_path / "a.mp3").frames == len(music)


def test_opus_is_written_at_its_own_rate(music, tmp_path):
    write_sound(tmp_path / "a.opus", music, RATE_HZ)
    info = soundfile.info(tmp_path / "a.opus")
    assert (info.samplerate, info.subtype) == (48_000, "OPUS")
    assert info.frames == pytest.approx(1.23 * 48_000, abs=1)


@pytest.mark.parametrize(
    ("name", "samples", "rate_hz", "message"),
    [
        ("a.ogg", np.zeros(9), RATE_HZ, r"end the name in \.wav, \.flac, \.mp3, \.opus"),
        ("a", np.zeros(9), RATE_HZ, "no suffix"),
        ("a.mp3", np.zeros(9), 31_999, "31999 Hz.*write a wav"),
        ("a.flac", np.full(9, np.nan), RATE_HZ, "NaN"),
        ("a.opus", np.zeros((9, 3)), RATE_HZ, r"samples \[n\] or \[n, 2\]"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(tmp_path, name, samples, rate_hz, message):
    with pytest.raises(MediaError, match=message):
        write_sound(tmp_path / name, samples.astype(np.float32), rate_hz)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SOUND_SUFFIXES)
def test_a_full_disk_leaves_the_old_file(music, tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    write_sound(path, music, RATE_HZ)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_sound(path, music[:1000], RATE_HZ)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_in_the_way_is_said(music, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_sound(tmp_path / "file" / "a.wav", music, RATE_HZ)
    with pytest.raises(OutputError, match="could not be written"), open_output(tmp_path / "file" / "a.mp4"):
        pass
