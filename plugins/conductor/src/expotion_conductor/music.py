"""The world's music: a chord progression, a bass, a melody and drums that follow a plan.

Loudness follows the plan's intensity over ``DYNAMIC_RANGE_DB`` and drags brightness and arrangement along with
it, as it does when an orchestra plays louder. Every beat is struck by chord, bass, melody and drum; nothing
below the beat is louder than a light hat, and only where twice the tempo could not be taken for the beat.
All music stays within the seven tones of one scale; the mood chooses mode, progression and register.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.music_bank import SAMPLE_RATE_HZ, drum, note
from expotion_conductor.plan import GRID_S, INTENSITY_RATE_HZ, Plan

DYNAMIC_RANGE_DB = 28.0
"""Difference in gain between intensity 0 and 1."""
_LOUDEST_RMS = 0.16
_RELEASE_S = 0.05
_OFF_BEATS_ABOVE_BPM = 96.0

_WHITE_KEYS = (0, 2, 4, 5, 7, 9, 11)
# Progressions as scale degrees of C (0 = C major, 5 = A minor ...), one chord per bar.
_PROGRESSIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "happy": ((0, 3, 4, 0), (0, 4, 5, 3)),
    "sad": ((5, 3, 0, 4), (5, 1, 2, 5)),
    "calm": ((0, 3, 0, 3), (0, 5, 3, 0)),
    "dramatic": ((5, 4, 3, 2), (5, 3, 1, 2)),
    "dreamy": ((3, 0, 3, 4), (3, 2, 5, 4)),
    "mysterious": ((2, 3, 2, 1), (1, 2, 3, 2)),
}
# Lowest melody step (in scale steps above C4), number of steps, the two drums, light chords.
_STYLES: dict[str, tuple[int, int, tuple[str, str], bool]] = {
    "happy": (4, 8, ("kick", "snare"), False),
    "sad": (0, 7, ("kick", "brush"), False),
    "calm": (2, 7, ("kick", "brush"), True),
    "dramatic": (-2, 8, ("tom", "snare"), False),
    "dreamy": (5, 8, ("kick", "brush"), True),
    "mysterious": (-3, 7, ("tom", "brush"), True),
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
    floor_step, n_melody, kit, light = _STYLES[plan.mood]
    options = _PROGRESSIONS[plan.mood]
    chords = options[int(rng.integers(len(options)))]
    bar = 0
    step = int(rng.integers(n_melody))
    # The beat before the first one is played too; what of it still sounds at 0 s fills the start.
    upbeat_s = (plan.beats_s[0] if len(plan.beats_s) else plan.duration_s) - plan.beat_period_s
    upbeat = (plan.beat_in_bar[0] - 1) % plan.beats_per_bar if len(plan.beat_in_bar) else 0
    beats_s = np.concatenate([[upbeat_s], plan.beats_s])
    for beat_s, in_bar in zip(beats_s, [upbeat, *plan.beat_in_bar], strict=True):
        bar += int(in_bar == 0)
        root = chords[bar % len(chords)]
        start, length_s = _snap(float(beat_s)), plan.beat_period_s
        step = _next_step(rng, step, n_melody, floor_step, root, strong=bool(in_bar == 0))
        voices = [(_white(root - 14), 0.85), (_white(floor_step + step), 0.9)]
        # Light moods spread the chord over the beats of the bar, the others strike it as a block.
        triad = [_white(_close(root + third)) for third in (0, 2, 4)]
        voices += [(triad[int(in_bar) % 3], 0.75)] if light else [(key, 0.45) for key in triad]
        for bright, mix in enumerate(soft_and_loud):
            for key, level in voices:
                _add(mix, start, _cut(note(plan.timbre, key, bool(bright)), length_s), level)
            for kind, level in zip(kit, _STROKES[int(in_bar)], strict=True):
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
    return np.tanh(blend * gain * np.float32(_LOUDEST_RMS / 1.6)).astype(np.float32)


def _snap(time_s: float) -> int:
    """The sample of the nearest point of the codec's grid."""
    return round(time_s / GRID_S) * round(GRID_S * SAMPLE_RATE_HZ)


def _white(step: int) -> int:
    """MIDI number of a white key, counted in scale steps from C4."""
    return 60 + 12 * (step // 7) + _WHITE_KEYS[step % 7]


def _close(step: int) -> int:
    """The same tone in the octave from G3 to F4, so that chords stay close to each other."""
    return (step + 3) % 7 - 3


def _next_step(
    rng: np.random.Generator, step: int, n_melody: int, floor_step: int, root: int, *, strong: bool
) -> int:
    """A melody that walks by small steps and rests on chord tones on strong beats."""
    step = int(np.clip(step + rng.integers(-2, 3), 0, n_melody - 1))
    if strong:
        while (floor_step + step - root) % 7 not in (0, 2, 4):
            step = step + 1 if step < n_melody - 1 else step - 3
    return step


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
