"""Loudness against the numbers of BS.1770, and normalisation under a ceiling."""

import numpy as np
import pytest

from expotion.video.loudness import loudness_lufs, normalise, true_peak_dbtp

RATE_HZ = 32_000


def sine(duration_s: float, frequency_hz: float = 997.0, phase: float = 0.0) -> np.ndarray:
    t = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * frequency_hz * t + phase).astype(np.float32)


def bursts(duration_s: float = 4.0) -> np.ndarray:
    """Quiet noise with a loud click twice a second: 20 dB between peak and loudness."""
    rng = np.random.default_rng(0)
    samples = (0.05 * rng.normal(size=round(duration_s * RATE_HZ))).astype(np.float32)
    for at in range(8_000, len(samples), RATE_HZ // 2):
        samples[at : at + 16] = 0.5
    return samples


@pytest.mark.parametrize("duration_s", [3.0, 0.41, 0.4, 0.1, 0.02])
def test_a_full_scale_sine_is_3_lufs_below_zero(duration_s):
    assert loudness_lufs(sine(duration_s), RATE_HZ) == pytest.approx(-3.01, abs=0.1)


def test_silence_between_music_is_gated():
    music = 0.1 * sine(2.0)
    with_pause = np.concatenate([music, np.zeros(4 * RATE_HZ, np.float32)])
    assert loudness_lufs(with_pause, RATE_HZ) == pytest.approx(loudness_lufs(music, RATE_HZ), abs=0.5)


def test_true_peak_lies_between_the_samples():
    quarter = 0.5 * sine(1.0, RATE_HZ / 4, np.pi / 4)  # every sample at 0.354
    quarter *= np.hanning(len(quarter)) ** 0.25
    assert np.abs(quarter).max() == pytest.approx(0.354, abs=0.002)
    assert true_peak_dbtp(quarter, RATE_HZ) == pytest.approx(-6.02, abs=0.1)


@pytest.mark.parametrize("target", [-30.0, -23.0, -16.0])
def test_target_is_met(target):
    made = normalise(0.2 * sine(2.0), RATE_HZ, target)
    assert made.loudness_lufs == pytest.approx(target, abs=0.02)
    assert loudness_lufs(made.samples, RATE_HZ) == pytest.approx(target, abs=0.05)
    assert (made.limited_db, made.note, made.samples.dtype) == (0.0, None, np.float32)


def test_peaks_are_limited_to_the_ceiling_and_the_target_is_still_met():
    samples = bursts()
    target = loudness_lufs(samples, RATE_HZ) + 8.0  # peaks at -6 dB would reach +2
    made = normalise(samples, RATE_HZ, target, ceiling_dbtp=-1.0)
    assert 2.0 < made.limited_db <= 6.0
    assert made.true_peak_dbtp <= -1.0 + 1e-6
    assert true_peak_dbtp(made.samples, RATE_HZ) <= -1.0 + 0.01
    assert made.loudness_lufs == pytest.approx(target, abs=0.1)


def test_more_than_the_limiter_may_do_is_said():
    made = normalise(bursts(), RATE_HZ, -5.0, ceiling_dbtp=-2.0)
    assert made.note is not None and "instead of -5" in made.note and "-2 dBTP" in made.note
    assert made.loudness_lufs < -5.5
    assert made.true_peak_dbtp <= -2.0 + 1e-6


def test_the_limiter_leaves_quiet_stretches_alone():
    loud, quiet = 0.9 * sine(0.2), 0.05 * sine(2.0)
    made = normalise(np.concatenate([quiet, loud, quiet]), RATE_HZ, -14.0)
    gain = 10 ** (made.gain_db / 20)
    assert np.abs(made.samples[:RATE_HZ] - gain * quiet[:RATE_HZ]).max() < 1e-4


@pytest.mark.parametrize("n", [0, 1, 1000, RATE_HZ])
def test_silence_stays_silence(n):
    made = normalise(np.zeros(n, np.float32), RATE_HZ, -16.0)
    assert len(made.samples) == n and not made.samples.any()
    assert (made.before_lufs, made.loudness_lufs, made.true_peak_dbtp) == (None, None, None)
    assert "silence" in made.note


def test_one_sample_does_not_break_it():
    made = normalise(np.full(1, 0.5, np.float32), RATE_HZ, -16.0)
    assert np.isfinite(made.samples).all() and np.abs(made.samples).max() <= 1.0
