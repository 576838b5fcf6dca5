"""The world's music: a chord progression, a bass, a melody and drums that follow a plan.

Loudness follows the plan's intensity over ``DYNAMIC_RANGE_DB`` and drags brightness and arrangement along with
it, as it does when an orchestra plays louder. Every beat is struck by chord, bass, melody and drum; nothing
below the beat is louder than a light hat, and only where twice the tempo could not be taken for the beat.
Tones come from one harmonic series (just intonation); the mood chooses chords, scale and register.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.music_bank import SAMPLE_RATE_HZ, drum, note
from expotion_conductor.plan import GRID_S, INTENSITY_RATE_HZ, Plan

DYNAMIC_RANGE_DB = 28.0
"""Difference in gain between intensity 0 and 1."""
_LOUDEST_RMS = 0.16
_RELEASE_S = 0.05
_OFF_BEATS_ABOVE_BPM = 96.0

# Chords: bass, then three voices, as multiples of 50 Hz. On C = 400 Hz: C, G, E minor, the septimal G minor
# (6:7:9), C with the harmonic seventh, C with the major seventh.
_CHORDS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "C": (2, (8, 10, 12)),
    "G": (3, (9, 12, 15)),
    "Em": (5, (10, 12, 15)),
    "Gm": (3, (6, 7, 9)),
    "C7": (4, (8, 10, 14)),
    "Cmaj7": (4, (8, 12, 15)),
}


@dataclass(frozen=True)
class _Style:
    """How a mood is played: progressions (a chord per bar), melody tones, drums, chords spread or in block."""

    progressions: tuple[tuple[str, ...], ...]
    scale: tuple[int, ...]
    kit: tuple[str, str]
    light: bool


_STYLES: dict[str, _Style] = {
    "happy": _Style(
        (("C", "G", "C", "G"), ("C", "Em", "G", "C")), (8, 9, 10, 12, 15, 16, 18, 20), ("kick", "snare"), False
    ),
    "sad": _Style((("Em", "C", "Em", "G"), ("Em", "G", "Em", "Em")), (9, 10, 12, 15, 18), ("kick", "brush"), False),
    "calm": _Style((("C", "Em"), ("C", "Cmaj7", "C", "G")), (8, 9, 10, 12, 16, 18), ("kick", "brush"), True),
    "dramatic": _Style((("Gm", "C7"), ("Gm", "Em", "Gm", "C7")), (6, 7, 8, 9, 10, 12), ("tom", "snare"), False),
    "dreamy": _Style((("Cmaj7", "Em"), ("Cmaj7", "G")), (12, 15, 16, 18, 20, 24), ("kick", "brush"), True),
    "mysterious": _Style((("Gm", "Em"), ("C7", "Gm")), (6, 7, 8, 9, 12, 14), ("tom", "brush"), True),
}
# Levels of the two drums on the first, second, third ... beat of a bar. They differ little: to a beat tracker
# a strong alternation is half the tempo.
_STROKES = ((2.2, 1.1), (1.6, 1.7), (1.9, 1.4), (1.6, 1.7))


def render_music(plan: Plan) -> NDArray[np.float32]:
    """The clip's sound: mono float32 [round(duration_s * 32000)] at 32 kHz, within ±1, seeded by the plan."""
    rng = np.random.default_rng([plan.music_seed, 2])
    n_samples = round(plan.duration_s * SAMPLE_RATE_HZ)
    # Rendered twice, played softly and loudly; the intensity then blends the two.
    soft_and_loud = np.zeros((2, n_samples + 2 * SAMPLE_RATE_HZ), dtype=np.float32)
    style = _STYLES[plan.mood]
    chords = style.progressions[int(rng.integers(len(style.progressions)))]
    bar, step = 0, int(rng.integers(len(style.scale)))
    # The beat before the first one is played too; what of it still sounds at 0 s fills the start.
    upbeat_s = (plan.beats_s[0] if len(plan.beats_s) else plan.duration_s) - plan.beat_period_s
    upbeat = (plan.beat_in_bar[0] - 1) % plan.beats_per_bar if len(plan.beat_in_bar) else 0
    beats_s = np.concatenate([[upbeat_s], plan.beats_s])
    for beat_s, in_bar in zip(beats_s, [upbeat, *plan.beat_in_bar], strict=True):
        bar += int(in_bar == 0)
        bass, triad = _CHORDS[chords[bar % len(chords)]]
        length_s = (
            plan.late_period_s if plan.late_period_s and beat_s >= plan.duration_s / 2 else plan.beat_period_s
        )
        start = _snap(float(beat_s))
        step = _next_step(rng, step, style.scale, triad, strong=bool(in_bar == 0))
        voices = [(bass, 0.85), (style.scale[step], 0.9)]
        # Light moods spread the chord over the beats of the bar, the others strike it as a block.
        voices += [(triad[int(in_bar) % 3], 0.75)] if style.light else [(tone, 0.45) for tone in triad]
        for bright, mix in enumerate(soft_and_loud):
            for tone, level in voices:
                _add(mix, start, _cut(note(plan.timbre, tone, bool(bright)), length_s), level)
            for kind, level in zip(style.kit, _STROKES[int(in_bar)], strict=True):
                _add(mix, start, drum(kind, bool(bright)), level)
            if bright and plan.tempo_bpm > _OFF_BEATS_ABOVE_BPM:
                _add(mix, _snap(float(beat_s) + length_s / 2), drum("hat", True), 0.22)
    return _play(plan, soft_and_loud[:, :n_samples])


def _play(plan: Plan, soft_and_loud: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blend and level by intensity: soft [0] and loud [1] renderings, float32 [2, n] -> [n]."""
    grid = plan.intensity.astype(np.float32)
    n_per_step = round(SAMPLE_RATE_HZ / INTENSITY_RATE_HZ)
    ramp = np.arange(n_per_step, dtype=np.float32) / n_per_step
    rising = grid[:-1, None] + np.diff(grid)[:, None] * ramp  # linear between grid points
    intensity = np.append(rising.ravel(), np.full(n_per_step, grid[-1]))[: soft_and_loud.shape[1]]
    blend = soft_and_loud[0] + (soft_and_loud[1] - soft_and_loud[0]) * intensity
    gain = np.exp(np.float32(np.log(10.0) * DYNAMIC_RANGE_DB / 20.0) * (intensity - 1.0))
    # A fixed divisor, never the clip's own peak: how loud a clip is depends on its intensity alone.
    sound: NDArray[np.float32] = np.tanh(blend * gain * np.float32(_LOUDEST_RMS / 1.6))
    return sound.astype(np.float32)


def _snap(time_s: float) -> int:
    """The sample of the nearest point of the codec's grid."""
    return round(time_s / GRID_S) * round(GRID_S * SAMPLE_RATE_HZ)


def _next_step(
    rng: np.random.Generator, step: int, scale: tuple[int, ...], triad: tuple[int, int, int], *, strong: bool
) -> int:
    """A melody that walks by small steps and meets a tone of the chord, in any octave, on strong beats."""
    step = int(np.clip(step + rng.integers(-2, 3), 0, len(scale) - 1))
    if strong:
        fitting = [i for i, tone in enumerate(scale) if _class(tone) in {_class(t) for t in triad}]
        step = min(fitting, key=lambda i: (abs(i - step), i))
    return step


def _class(tone: int) -> int:
    """The odd part of a multiple: the same for all octaves of a tone."""
    while tone % 2 == 0:
        tone //= 2
    return tone


def _cut(wave: NDArray[np.float32], length_s: float) -> NDArray[np.float32]:
    """A note of this length with a short release."""
    n_release = round(_RELEASE_S * SAMPLE_RATE_HZ)
    n_held = min(round(length_s * SAMPLE_RATE_HZ), len(wave) - n_release)
    wave = wave[: n_held + n_release].copy()
    wave[n_held:] *= np.linspace(1.0, 0.0, n_release, dtype=np.float32)
    return wave


def _add(mix: NDArray[np.float32], start: int, wave: NDArray[np.float32], level: float) -> None:
    """Add a waveform in place, cut at both ends of the mix."""
    if start < 0:
        wave, start = wave[-start:], 0
    n = min(len(wave), len(mix) - start)
    if n > 0:
        mix[start : start + n] += np.float32(level) * wave[:n]
