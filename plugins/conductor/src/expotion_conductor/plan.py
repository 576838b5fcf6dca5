"""The plan of one clip of the conductor world: when the beats fall, how loud it is, what it sounds like.

Sound and picture are both drawn from a :class:`Plan`, so they agree by construction: the baton strikes on
``beats_s`` and the face follows ``intensity``. The caption names timbre and mood only; tempo, phase and
loudness can be known from the video alone. A plan is a pure function of its seed, and a longer plan of the
same seed begins with the shorter one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from expotion_conductor.band.piece import Piece
    from expotion_conductor.people.cast import People

# Seed ranges. They never meet, so no clip of one purpose is ever seen by another.
LM_AND_CODEC_SEEDS = 1_000_000
"""First seed of the clips that train the tiny codec and language model."""
ENCODER_SEEDS = 2_000_000
"""First seed of the clips that train the tiny video encoders."""
ADAPTOR_TRAIN_SEEDS = 3_000_000
"""First seed of the clips that train adaptors."""
TEST_SEEDS = 4_000_000
"""First seed of the held-out clips; nothing is ever tuned on these."""
DEVELOPMENT_SEEDS = 5_000_000
"""First seed of the clips for tuning during development."""
REPORT_SEEDS = 6_000_000
"""First seed of the clips shown in the documentation."""

INTENSITY_RATE_HZ = 50.0
GRID_S = 0.02
"""Beats fall on this grid, one frame of the codec: a small codec and language model then meet each onset at the
same place of a frame, and a beat is a whole number of frames. Tempi still differ by 2 % (60 BPM) to 6 %."""
TEMPO_RANGE_BPM = (60.0, 180.0)
TIMBRES = ("piano", "strings", "organ", "marimba", "flute", "synth lead")
MOODS = ("happy", "sad", "calm", "dramatic", "dreamy", "mysterious")

_TEMPLATES = (
    "a {mood} piece played on {timbre}",
    "{mood} music for {timbre} with light drums",
    "{timbre} playing a {mood} melody",
    "a {mood} tune with {timbre} and percussion",
    "{mood} {timbre} music",
    "an instrumental with {timbre}, {mood} in mood",
    "{timbre} over a simple drum groove, {mood}",
    "a {mood} theme, {timbre} in the lead",
)


@dataclass(frozen=True)
class Plan:
    """Everything that is true of one clip. Times are seconds from the clip's start."""

    seed: int
    duration_s: float
    tempo_bpm: float
    """Constant within the clip, 60..180; of its beginning, where `late_period_s` says otherwise."""
    beats_per_bar: int
    """3 or 4; the band's also 2 or 6."""
    beats_s: NDArray[np.float64]
    """Every beat in [0, duration_s), the phase random."""
    beat_in_bar: NDArray[np.int64]
    """Same length as ``beats_s``; 0 marks a downbeat."""
    intensity_times_s: NDArray[np.float64]
    """50 Hz grid from 0 to duration_s inclusive."""
    intensity: NDArray[np.float64]
    """0 (very soft) .. 1 (very loud) on that grid."""
    timbre: str
    mood: str
    caption: str
    music_seed: int
    person_seed: int
    variant: str = ""
    """What was changed in the clip of this seed (`probes.py`)."""
    late_period_s: float | None = None
    """Seconds from beat to beat at the end, where the tempo changed on the way."""
    rests_from_s: float = float("inf")
    """The beating hand and the nod stand still from here on."""
    piece: Piece | None = None
    """What the band plays; without it, the music of `music.py`."""
    people: People | None = None
    """Who moves to it; without them, a conductor."""

    @property
    def beat_period_s(self) -> float:
        """Seconds from one beat to the next."""
        return 60.0 / self.tempo_bpm

    @property
    def periods_s(self) -> tuple[float, float]:
        """Seconds from beat to beat before the first beat and after the last."""
        return self.beat_period_s, self.late_period_s or self.beat_period_s

    @property
    def traits(self) -> dict[str, str]:
        """What holds throughout, in words: mood and leading instrument; of the band's music all traits."""
        if self.piece is None:
            return {"mood": self.mood, "lead": self.timbre}
        return {name: value for name, value in vars(self.piece.traits).items() if isinstance(value, str)}

    def intensity_at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The intensity at any times, linear between grid points and held beyond the ends."""
        return np.interp(times_s, self.intensity_times_s, self.intensity)


def make_plan(seed: int, duration_s: float = 10.0) -> Plan:
    """Draw the plan of one clip.

    Args:
        seed: any non-negative integer; see the ranges above.
        duration_s: length in seconds, more than 0.

    Raises:
        ValueError: for a length that is not positive and finite.
    """
    if not (np.isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"duration_s must be positive and finite, got {duration_s!r}")
    words = np.random.default_rng([seed, 0])
    slowest, fastest = (60.0 / bpm / GRID_S for bpm in TEMPO_RANGE_BPM)
    frames = round(60.0 / GRID_S / float(words.uniform(*TEMPO_RANGE_BPM)))
    period_s = GRID_S * int(np.clip(frames, np.ceil(fastest), np.floor(slowest)))
    beats_per_bar = 4 if words.random() < 0.7 else 3
    first_s = GRID_S * int(words.integers(round(period_s / GRID_S)))
    first_in_bar = int(words.integers(beats_per_bar))
    timbre = TIMBRES[int(words.integers(len(TIMBRES)))]
    mood = MOODS[int(words.integers(len(MOODS)))]
    template = _TEMPLATES[int(words.integers(len(_TEMPLATES)))]
    music_seed, person_seed = (int(value) for value in words.integers(2**31, size=2))

    count = max(0, int(np.ceil((duration_s - first_s) / period_s)))
    beats_s = first_s + period_s * np.arange(count + 1, dtype=np.float64)
    beats_s = beats_s[beats_s < duration_s]
    beat_in_bar = (first_in_bar + np.arange(len(beats_s), dtype=np.int64)) % beats_per_bar
    times_s = np.arange(round(duration_s * INTENSITY_RATE_HZ) + 1, dtype=np.float64) / INTENSITY_RATE_HZ
    return Plan(
        seed=seed,
        duration_s=float(duration_s),
        tempo_bpm=60.0 / period_s,
        beats_per_bar=beats_per_bar,
        beats_s=beats_s,
        beat_in_bar=beat_in_bar,
        intensity_times_s=times_s,
        intensity=intensity_curve(seed, times_s),
        timbre=timbre,
        mood=mood,
        caption=template.format(timbre=timbre, mood=mood),
        music_seed=music_seed,
        person_seed=person_seed,
    )


def intensity_curve(seed: int, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 (soft) .. 1 (loud) at `times_s` [n] -> [n]: a new level every 1.2-3 s, reached by a quick
    step, a ramp or a long crescendo/diminuendo."""
    rng = np.random.default_rng([seed, 1])
    level = float(rng.uniform(0.0, 1.0))
    knots_s, levels = [0.0], [level]
    while knots_s[-1] <= times_s[-1]:
        hold_s = float(rng.uniform(1.2, 3.0))
        # Moves are at least 0.3 wide, so that every change can be seen and heard.
        below, above = max(level - 0.3, 0.0), max(1.0 - (level + 0.3), 0.0)
        pick = float(rng.uniform(0.0, below + above))
        level = pick if pick < below else level + 0.3 + (pick - below)
        shape = rng.random()
        rise_s = 0.16 if shape < 0.45 else float(rng.uniform(0.4, 1.0)) if shape < 0.7 else hold_s
        end_s = knots_s[-1] + hold_s
        if rise_s < hold_s:
            knots_s.append(end_s - rise_s)
            levels.append(levels[-1])
        knots_s.append(end_s)
        levels.append(level)
    curve = np.interp(times_s, knots_s, levels)
    return np.clip(curve, 0.0, 1.0)
