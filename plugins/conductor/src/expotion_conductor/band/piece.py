"""One piece of the band: its traits, beats, curves and caption, drawn from a seed, and its notes.

A pure function of its arguments; a longer piece of the same seed begins as the shorter one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Notes
from expotion_conductor.band.clock import Clock, clock_of, draw_breaks, performed_periods, steady_periods
from expotion_conductor.band.draw import Draw
from expotion_conductor.band.instruments import INSTRUMENTS, Instrument
from expotion_conductor.band.performance import perform
from expotion_conductor.band.score import PHRASE_BARS, SECTION_BARS, Moment, Score
from expotion_conductor.band.styles import STYLES_BY_NAME
from expotion_conductor.band.traits import Traits, draw_traits
from expotion_conductor.plan import INTENSITY_RATE_HZ, TEMPO_RANGE_BPM, intensity_curve

Floats = NDArray[np.float64]

__all__ = ["STYLES_BY_NAME", "Piece", "make_piece"]

_PRE_ROLL_S = 1.2
_STEADY_LOOSENESS = 0.5
_VALENCE_REACH = 0.4
_TOGETHER_S = 0.04
"""Notes of one beat lie within this around it."""


@dataclass(frozen=True)
class Piece:
    """A piece as it is played. Times are seconds from the clip's start; curves are 0..1 at `times_s` (50 Hz)."""

    seed: int
    duration_s: float
    steady: bool
    traits: Traits
    caption: str
    beats_per_bar: int
    """As they are beaten: 2, 3, 4 or 6."""
    beats_s: Floats
    beat_in_bar: NDArray[np.int64]
    first_period_s: float
    last_period_s: float
    first_bar: int
    """Where in a section of eight bars the first bar lies."""
    times_s: Floats
    intensity: Floats
    valence: Floats
    silent_from_s: float = float("inf")
    """Nothing is struck from here on."""
    holds_s: tuple[tuple[float, float], ...] = ()
    """Fermatas: what is struck at the first time sounds until the second, and nothing is struck between."""
    rests_s: tuple[tuple[float, float], ...] = ()
    """General rests, from a beat to a beat: nobody plays."""

    @property
    def style(self) -> str:
        """The genre."""
        return self.traits.style

    @property
    def key(self) -> int:
        """Pitch class of the tonic, C = 0."""
        return self.traits.tonic

    @property
    def mode(self) -> str:
        """`major`, `minor`, `dorian`, `phrygian`, `lydian` or `mixolydian`."""
        return self.traits.mode

    @property
    def tempo_bpm(self) -> float:
        """The tempo at the beginning; that of the whole piece where it is steady."""
        return 60.0 / self.first_period_s

    @property
    def instruments(self) -> dict[str, Instrument]:
        """Who plays each pitched voice."""
        traits = self.traits
        names = {"melody": traits.lead, "chords": traits.comp, "bass": traits.bass, "colour": traits.colour_player}
        return {voice: INSTRUMENTS[name] for voice, name in names.items()}

    def arousal_at(self, times_s: Floats) -> Floats:
        """The intensity at any times, held beyond the ends."""
        return np.interp(times_s, self.times_s, self.intensity)

    @cached_property
    def clock(self) -> Clock:
        """All beats from a bar before the clip to a bar after it."""
        beats_s, places = self.beats_s, self.beat_in_bar
        if not len(beats_s):
            beats_s, places = np.array([self.duration_s]), np.zeros(1, np.int64)
        periods = (self.first_period_s, self.last_period_s)
        return clock_of(beats_s, int(places[0]), self.beats_per_bar, -_PRE_ROLL_S, periods)

    @cached_property
    def performed(self) -> Notes:
        """Every note of the performance, those of the pre-roll too."""
        clock, traits = self.clock, self.traits
        style = STYLES_BY_NAME[traits.style]
        score = Score(self.seed, traits, self.beats_per_bar, self.first_bar)
        levels, last = self.intensity.tolist(), len(self.intensity) - 1

        def arousal(at: float) -> float:
            return float(levels[min(max(int(clock.second(at) * INTENSITY_RATE_HZ), 0), last)])

        strokes = []
        for bar in range(clock.n_bars):
            at = bar * self.beats_per_bar
            start_s, end_s = clock.second(at), clock.second(at + self.beats_per_bar)
            if start_s >= self.duration_s + 0.2:
                break
            valence = float(np.interp((start_s + end_s) / 2, self.times_s, self.valence))
            moment = Moment(arousal, valence, (end_s - start_s) / self.beats_per_bar, self.steady)
            strokes += list(score.bar(bar, moment))
        compound = traits.metre == "6/8"
        notes = perform(
            strokes,
            clock,
            self.arousal_at,
            looseness_s=style.looseness_s * (_STEADY_LOOSENESS if self.steady else 1.0),
            swing=0.0 if compound else style.swing,
            beats_per_quarter=1.0,
            seed=self.seed,
        )
        notes = _broken(notes, self.holds_s, self.rests_s)
        return _chosen(notes, notes.onset_s < min(self.duration_s, self.silent_from_s))

    @cached_property
    def notes(self) -> Notes:
        """The notes that sound within the clip, in the order of their onsets; the first may begin before it."""
        return _chosen(self.performed, self.performed.offset_s > 0.0)

    @cached_property
    def events_s(self) -> dict[str, Floats]:
        """Where bars, phrases of four bars and sections of eight begin, in seconds within the clip."""
        clock = self.clock
        bars_s = clock.grid_s[:: self.beats_per_bar]
        places = np.arange(len(bars_s)) + self.first_bar
        inside = (bars_s >= 0) & (bars_s < min(self.duration_s, self.silent_from_s))
        every = {"bars": 1, "phrases": PHRASE_BARS, "sections": SECTION_BARS}
        return {name: bars_s[inside & (places % n == 0)] for name, n in every.items()}

    @cached_property
    def tempo_curve_bpm(self) -> Floats:
        """The local tempo at `times_s`: beats a minute between the two beats around."""
        grid_s = self.clock.grid_s
        which = np.clip(np.searchsorted(grid_s, self.times_s, side="right") - 1, 0, len(grid_s) - 2)
        return np.asarray(60.0 / np.diff(grid_s)[which])


def make_piece(
    seed: int,
    duration_s: float = 10.0,
    *,
    style: str | None = None,
    steady: bool = False,
    fixed: Mapping[str, object] | None = None,
    breaks: bool = False,
) -> Piece:
    """Draw one piece.

    Args:
        seed: any non-negative integer; every purpose has its own range (`plan.py`).
        duration_s: length in seconds, more than 0.
        style: one of `STYLES_BY_NAME`; drawn where it is None.
        steady: 3/4 or 4/4, one tempo, and every beat is struck; otherwise all metres and performed timing.
        fixed: traits that are not drawn, by the names of `Traits`.
        breaks: some pieces that are not steady have a fermata, some a general rest.

    Raises:
        ValueError: for a length that is not positive and finite.
        KeyError: for a style that does not exist.
    """
    from expotion_conductor.band.captions import caption_of  # noqa: PLC0415 - its words are looked up only here

    if not (np.isfinite(duration_s) and duration_s > 0):
        raise ValueError(f"duration_s must be positive and finite, got {duration_s!r}")
    traits = draw_traits(Draw(seed, 40), style, fixed or {}, steady=steady)
    draw = Draw(seed, 41)
    slowest, fastest = TEMPO_RANGE_BPM
    u_tempo, u_phase, u_bar, u_beat, u_six = (draw.random() for _ in range(5))
    beats_per_bar = int(traits.metre[0])
    if traits.metre == "6/8":
        beats_per_bar = 6 if u_six < 0.4 else 2
        slowest, fastest = (100.0, fastest) if beats_per_bar == 6 else (slowest, 130.0)
    period_s = 60.0 / (slowest + (fastest - slowest) * u_tempo)
    first_bar, first_in_bar = int(u_bar * SECTION_BARS), int(u_beat * beats_per_bar)
    n_beats = int(np.ceil(duration_s / period_s * 1.6)) + 8
    if steady:
        periods_s = steady_periods(period_s, n_beats)
    else:
        place = first_bar * beats_per_bar + first_in_bar
        periods_s = performed_periods(period_s, n_beats, place, beats_per_bar, STYLES_BY_NAME[traits.style], seed)
    # Breaks beyond these beats are beyond the clip.
    held, resting = draw_breaks(seed, n_beats - 1) if breaks and not steady else (None, None)
    if held:
        periods_s[held[0]] *= held[1]
    every_s = u_phase * periods_s[0] + np.concatenate([[0.0], np.cumsum(periods_s)[:-1]])
    inside = every_s < duration_s
    n_inside = int(inside.sum())
    times_s = np.arange(round(duration_s * INTENSITY_RATE_HZ) + 1, dtype=np.float64) / INTENSITY_RATE_HZ
    return Piece(
        seed=seed,
        duration_s=float(duration_s),
        steady=steady,
        traits=traits,
        caption=caption_of(traits, Draw(seed, 42)),
        beats_per_bar=beats_per_bar,
        beats_s=every_s[inside],
        beat_in_bar=(first_in_bar + np.arange(n_inside, dtype=np.int64)) % beats_per_bar,
        first_period_s=float(periods_s[0]),
        last_period_s=float(periods_s[max(0, n_inside - 1)]),
        first_bar=first_bar,
        times_s=times_s,
        intensity=intensity_curve(seed, times_s),
        valence=_valence(seed, times_s, traits.mood_valence),
        holds_s=((float(every_s[held[0]]), float(every_s[held[0] + 1])),) if held else (),
        rests_s=((float(every_s[resting[0]]), float(every_s[resting[1]])),) if resting else (),
    )


def _valence(seed: int, times_s: Floats, middle: float) -> Floats:
    """A new level every 2 to 5 s around the mood's, reached by a ramp."""
    draw = Draw(seed, 43)
    level = middle + draw.between(-_VALENCE_REACH, _VALENCE_REACH)
    knots_s, levels = [0.0], [level]
    while knots_s[-1] <= times_s[-1]:
        hold_s, rise_s = draw.between(1.5, 4.0), draw.between(0.3, 1.5)
        level = middle + draw.between(-_VALENCE_REACH, _VALENCE_REACH)
        levels += [levels[-1], level]
        knots_s += [knots_s[-1] + hold_s, knots_s[-1] + hold_s + rise_s]
    return np.clip(np.interp(times_s, knots_s, levels), 0.0, 1.0)


def _broken(
    notes: Notes, holds_s: tuple[tuple[float, float], ...], rests_s: tuple[tuple[float, float], ...]
) -> Notes:
    """The notes without those that fall into holds and rests, and with those that are held or cut by them."""
    onset_s, offset_s = notes.onset_s, notes.offset_s.copy()
    played = np.ones(len(onset_s), dtype=np.bool_)
    for start_s, end_s in holds_s:
        struck = np.abs(onset_s - start_s) <= _TOGETHER_S
        offset_s[struck] = np.maximum(offset_s[struck], end_s - _TOGETHER_S)
        played &= struck | (onset_s < start_s) | (onset_s > end_s - _TOGETHER_S)
    for start_s, end_s in rests_s:
        played &= (onset_s < start_s - _TOGETHER_S) | (onset_s > end_s - _TOGETHER_S)
        sounding = (onset_s < start_s - _TOGETHER_S) & (offset_s > start_s)
        offset_s[sounding] = np.maximum(start_s, onset_s[sounding] + _TOGETHER_S)
    return _chosen(Notes(onset_s, offset_s, notes.pitch, notes.velocity, notes.voice), played)


def _chosen(notes: Notes, which: NDArray[np.bool_]) -> Notes:
    return Notes(
        notes.onset_s[which], notes.offset_s[which], notes.pitch[which], notes.velocity[which], notes.voice[which]
    )
