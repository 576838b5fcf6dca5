"""The headphones check of Woods et al. (2017, Attention, Perception & Psychophysics 79, 2064-2072), synthesised.

Three tones of 200 Hz; one is 6 dB softer, and of the two others one is in anti-phase between the ears. Over
loudspeakers the anti-phase tone cancels in the air and is taken for the softest; over headphones it is not. Six
trials hold every order of the three tones once; five right answers pass, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 44_100
TONE_HZ, TONE_S, RAMP_S, PAUSE_S = 200.0, 1.0, 0.1, 0.5
SOFT_DB = -6.0
LEVEL = 0.25
"""Amplitude of the louder tones."""

ORDERS = tuple(permutations(("loud", "soft", "anti")))
N_TRIALS, N_TO_PASS, MAX_ATTEMPTS = len(ORDERS), 5, 2


def trial_sound(order: Sequence[str]) -> NDArray[np.float32]:
    """The three tones of a trial, float32 [n, 2] at RATE_HZ."""
    times_s = np.arange(round(TONE_S * RATE_HZ)) / RATE_HZ
    n_ramp = round(RAMP_S * RATE_HZ)
    ramp = np.sin(0.5 * np.pi * np.arange(n_ramp) / n_ramp) ** 2
    shape = np.ones(len(times_s))
    shape[:n_ramp], shape[-n_ramp:] = ramp, ramp[::-1]
    tone = LEVEL * shape * np.sin(2 * np.pi * TONE_HZ * times_s)
    sides = {
        "loud": (tone, tone),
        "soft": (tone * 10 ** (SOFT_DB / 20), tone * 10 ** (SOFT_DB / 20)),
        "anti": (tone, -tone),
    }
    pause = np.zeros((round(PAUSE_S * RATE_HZ), 2))
    parts = [pause[: len(pause) // 2]]
    for name in order:
        parts += [np.stack(sides[name], axis=1), pause]
    return np.concatenate(parts).astype(np.float32)


def calibration_sound(loudness_lufs: float, seconds: float = 4.0) -> NDArray[np.float32]:
    """Noise with equal power per octave at a loudness, float32 [n] at RATE_HZ, to set the volume by."""
    from expotion.video.loudness import loudness_lufs as measure

    n = round(seconds * RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(n))
    frequencies_hz = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    band = (frequencies_hz > 60.0) & (frequencies_hz < 12_000.0)
    spectrum[~band] = 0.0
    spectrum[band] /= np.sqrt(frequencies_hz[band])
    noise = np.fft.irfft(spectrum, n)
    n_ramp = RATE_HZ // 10
    noise[:n_ramp] *= np.linspace(0, 1, n_ramp)
    noise[-n_ramp:] *= np.linspace(1, 0, n_ramp)
    noise = (0.1 * noise / np.abs(noise).max()).astype(np.float32)
    now = measure(noise, RATE_HZ)
    assert now is not None
    gain = min(10 ** ((loudness_lufs - now) / 20), 0.99 / float(np.abs(noise).max()))
    return np.asarray(noise * gain, dtype=np.float32)


def n_correct(softest: Mapping[str, int], answers: Mapping[str, int]) -> int:
    """How many trials were answered right; both by token."""
    return sum(answers.get(token) == place for token, place in softest.items())
