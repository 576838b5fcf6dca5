"""Sound on the clip's time axis."""

import numpy as np
import pytest

from expotion.errors import MediaError
from expotion.video.audio import load_audio, resample
from expotion.video.sound_files import write_wav


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_sound_is_in_step_and_as_long_as_the_picture(make, tone, name):
    samples = load_audio(make(name, sound=True), 32_000)
    assert samples.dtype == np.float32
    assert samples.shape == (32_000,)
    middle = slice(3000, 29_000)
    assert np.sqrt(np.mean((samples[middle] - tone(1.0)[middle]) ** 2)) < 0.01


def test_another_rate_and_a_window(make, tone):
    path = make(sound=True)
    samples = load_audio(path, 16_000, 0.25, 0.5)
    wanted = tone(1.0, 16_000)[4000:12_000]
    assert samples.shape == (8000,)
    assert np.abs(samples - wanted)[200:-200].max() < 0.03


def test_sound_before_the_first_picture_shares_its_zero(make, tone):
    path = make(times_s=np.arange(10) / 10 + 0.5, duration_s=1.5, sound=True)
    samples = load_audio(path, 32_000)
    assert samples.shape == (48_000,)
    assert np.sqrt(np.mean((samples[3000:40_000] - tone(1.5)[3000:40_000]) ** 2)) < 0.01


def test_silence_after_the_end_and_none_without_sound(make, tmp_path):
    assert load_audio(make(), 16_000) is None
    write_wav(tmp_path / "a.wav", np.full(1600, 0.5, np.float32), 16_000)
    samples = load_audio(tmp_path / "a.wav", 16_000, 0.05, 0.1)
    assert samples == pytest.approx([0.5] * 800 + [0.0] * 800, abs=1e-4)


def test_channels_are_averaged(tmp_path):
    import soundfile

    stereo = np.stack([np.full(1000, 0.6), np.full(1000, -0.2)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, 8000, subtype="FLOAT")
    assert load_audio(tmp_path / "s.wav", 8000) == pytest.approx(np.full(1000, 0.2), abs=1e-6)


def test_resampling_keeps_level_time_and_length():
    t = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    out = resample(tone, 44_100, 32_000)
    wanted = np.sin(2 * np.pi * 1000 * np.arange(32_000) / 32_000)
    assert out.shape == (32_000,)
    assert np.abs(out - wanted)[500:-500].max() < 1e-3
    assert resample(tone, 44_100, 44_100) is tone


def test_sound_without_samples_is_refused(tmp_path):
    write_wav(tmp_path / "zero.wav", np.zeros(0, np.float32), 32_000)
    with pytest.raises(MediaError, match="no samples"):
        load_audio(tmp_path / "zero.wav", 32_000)
