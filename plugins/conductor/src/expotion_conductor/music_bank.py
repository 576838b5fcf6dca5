"""The world's instruments: a fixed bank of waveforms, one per timbre, pitch and brightness.

Every time a note is struck it starts with the very same samples, and every pitch is a multiple of 50 Hz: a held
note repeats exactly with each 20 ms frame of the codec. Together with onsets on that grid this keeps the number of
different frames small enough for a tiny codec and language model, which else keep rhythm and lose all pitch.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 32_000
NOTE_S = 1.25
"""Length of a bank waveform in seconds; the longest beat (60 BPM) plus the release."""
_TOP_HZ = 7_000.0

PITCH_UNIT_HZ = 50.0
"""Pitches are multiples of this: the harmonic series gives just intonation."""

# Per timbre: partials (number: amplitude), decay in 1/s of the first, extra decay per further partial, attack in s.
_RECIPES: dict[str, tuple[dict[int, float], float, float, float]] = {
    "piano": ({n: n**-1.15 for n in (1, 2, 3, 4, 5, 6, 8)}, 0.9, 0.7, 0.003),
    "strings": ({n: 1.0 / n for n in range(1, 15)}, 0.25, 0.0, 0.018),
    "organ": ({1: 1.0, 2: 0.8, 3: 0.5, 4: 0.55, 6: 0.3, 8: 0.3}, 0.1, 0.0, 0.006),
    "marimba": ({1: 1.0, 4: 0.45, 10: 0.2}, 1.6, 1.6, 0.002),
    "flute": ({1: 1.0, 2: 0.35, 3: 0.12, 4: 0.05}, 0.2, 0.0, 0.014),
    "synth lead": ({n: 1.0 / n for n in range(1, 24, 2)}, 0.3, 0.05, 0.004),
}


@lru_cache(maxsize=512)
def note(timbre: str, pitch: int, bright: bool) -> NDArray[np.float32]:
    """One struck note of ``pitch`` times 50 Hz, float32 [1.25 s], of unit RMS over its first half second.

    Raises:
        KeyError: for a timbre outside the bank.
    """
    partials, decay, extra, attack_s = _RECIPES[timbre]
    t = np.arange(round(NOTE_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    f0 = PITCH_UNIT_HZ * pitch
    phase = 2 * np.pi * f0 * t
    tilt = 1.0 if bright else 0.45
    wave = np.zeros_like(t)
    for number, amplitude in partials.items():
        if number * f0 < _TOP_HZ:
            fading = np.exp(-t * (decay + extra * (number - 1)))
            wave += amplitude * tilt ** (number - 1) * np.sin(number * phase) * fading
    # The first tenth of a second stands out, so that every beat is heard as an onset.
    wave *= np.minimum(t / attack_s, 1.0) * (0.62 + 0.38 * np.exp(-t / 0.09))
    return _unit(wave, 0.5)


@lru_cache(maxsize=16)
def drum(kind: str, bright: bool) -> NDArray[np.float32]:
    """One drum stroke, float32 [0.2 s], of unit RMS over its first 60 ms.

    ``kind`` is ``kick``, ``snare``, ``tom``, ``brush`` or ``hat``.

    Raises:
        KeyError: for any other kind.
    """
    # (low and high frequency of the falling tone, share of noise, decay in s)
    low_hz, high_hz, noise, decay_s = {
        "kick": (55.0, 190.0, 0.12, 0.060),
        "snare": (180.0, 240.0, 0.75, 0.050),
        "tom": (85.0, 210.0, 0.18, 0.075),
        "brush": (200.0, 260.0, 0.70, 0.035),
        "hat": (6000.0, 6000.0, 1.0, 0.018),
    }[kind]
    t = np.arange(round(0.2 * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    swept_hz = low_hz + (high_hz - low_hz) * np.exp(-t / 0.02)
    tone = np.sin(2 * np.pi * np.cumsum(swept_hz) / SAMPLE_RATE_HZ)
    hiss = np.random.default_rng([17, len(kind), ord(kind[0])]).standard_normal(len(t))
    width = {True: 3, False: 9}[bright] if kind != "hat" else 1
    hiss = np.convolve(hiss, np.ones(width) / np.sqrt(width), mode="same")
    if kind == "hat":
        hiss = np.diff(hiss, prepend=0.0)
    wave = ((1 - noise) * tone + noise * 0.5 * hiss) * np.exp(-t / decay_s) * np.minimum(t / 0.001, 1.0)
    return _unit(wave, 0.06)


def _unit(wave: NDArray[np.float64], over_s: float) -> NDArray[np.float32]:
    rms = np.sqrt(np.mean(wave[: round(over_s * SAMPLE_RATE_HZ)] ** 2))
    scaled: NDArray[np.float32] = (wave / rms).astype(np.float32)
    return scaled
