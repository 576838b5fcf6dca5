"""From musical to real time: the beats of a piece, how a performed tempo breathes, and where swung notes fall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import Draw, pink
from expotion_conductor.band.styles import Style

Floats = NDArray[np.float64]

_TURN_SHARE = 0.25
_TURN_RANGE = (0.82, 1.2)
_RITARDANDO = 2.5
_PHRASE_BARS = 4
_HOLD_SHARE, _REST_SHARE = 0.25, 0.2


@dataclass(frozen=True)
class Clock:
    """Beats of a piece from the downbeat at or before its pre-roll on: `grid_s` [n], `beats_per_bar` to a bar."""

    grid_s: Floats
    beats_per_bar: int

    def seconds(self, at: Floats) -> Floats:
        """Seconds of musical times in beats [m], linear between beats and beyond the last one at its tempo."""
        last = len(self.grid_s) - 1
        period_s = self.grid_s[-1] - self.grid_s[-2]
        return np.asarray(np.interp(at, np.arange(last + 1), self.grid_s) + np.maximum(at - last, 0.0) * period_s)

    def second(self, at: float) -> float:
        """The same for one time within the grid."""
        whole = min(max(int(at), 0), len(self.grid_s) - 2)
        start = float(self.grid_s[whole])
        return start + (at - whole) * (float(self.grid_s[whole + 1]) - start)

    @property
    def n_bars(self) -> int:
        """Bars begun on the grid."""
        return (len(self.grid_s) - 1) // self.beats_per_bar


def clock_of(
    beats_s: Floats, first_in_bar: int, beats_per_bar: int, from_s: float, periods_s: tuple[float, float]
) -> Clock:
    """The clock that has these beats, goes back to a downbeat before `from_s` and on for a bar after the last one.

    `periods_s`: seconds from beat to beat before the first and after the last.
    """
    before_s, after_s = periods_s
    back = max(0, int(np.ceil((beats_s[0] - from_s) / before_s)))
    back += (first_in_bar - back) % beats_per_bar
    early = beats_s[0] - before_s * np.arange(back, 0, -1)
    late = beats_s[-1] + after_s * np.arange(1, 2 * beats_per_bar + 1)
    return Clock(np.concatenate([early, beats_s, late]), beats_per_bar)


def steady_periods(period_s: float, n: int) -> Floats:
    """A metronome's."""
    return np.full(n, period_s)


def performed_periods(period_s: float, n: int, first_in_phrase: int, bar: int, style: Style, seed: int) -> Floats:
    """Seconds from beat to beat [n] as players let them breathe.

    1/f deviations as wide as the style's rubato; a ritardando at the end of every phrase of four bars, wider in
    freer styles; in one piece of four the tempo turns to another within a few beats. A longer row begins with the
    shorter one.
    """
    draw = Draw(seed, 31)
    stretch = 0.012 * pink(n, seed, 32) + style.rubato * pink(n, seed, 33)
    left = (-first_in_phrase - np.arange(1, n + 1)) % (_PHRASE_BARS * bar)
    stretch += _RITARDANDO * style.rubato * np.exp(-left / 1.2)
    if draw.chance(_TURN_SHARE):
        at, over = draw.below(16) + 4, draw.pick((1.0, 4.0, 8.0))
        stretch += np.log(draw.between(*_TURN_RANGE)) * np.clip((np.arange(n) - at) / over, 0.0, 1.0)
    return np.asarray(period_s * np.exp(stretch))


def draw_breaks(seed: int, before: int) -> tuple[tuple[int, float] | None, tuple[int, int] | None]:
    """A beat that is held and how many times its length, and the beats between which nobody plays.

    Those from beat `before` on, and those that a piece does not have, are None.
    """
    draw = Draw(seed, 34)
    has_hold, has_rest = draw.chance(_HOLD_SHARE), draw.chance(_REST_SHARE)
    held, longer = 2 + draw.below(10), draw.between(1.7, 2.6)
    first, length = 3 + draw.below(12), draw.pick((1, 2, 2, 4))
    return (
        (held, longer) if has_hold and held < before else None,
        (first, first + length) if has_rest and first + length <= before else None,
    )


def swung(at: Floats, swing: float, beats_per_quarter: float = 1.0) -> Floats:
    """Musical times in beats with the second quaver of a beat late by this share of a quaver."""
    if not swing:
        return at
    whole = np.floor(at * beats_per_quarter)
    phase = at * beats_per_quarter - whole
    half = 0.5 + 0.5 * swing
    late = np.where(phase < 0.5, phase * 2 * half, half + (phase - 0.5) * 2 * (1 - half))
    return (whole + late) / beats_per_quarter
