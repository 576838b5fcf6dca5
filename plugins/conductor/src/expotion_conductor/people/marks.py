"""When somebody marks the music: their marks beside the beats, and how far they are between two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import pink
from expotion_conductor.people.habits import Habits

Floats = NDArray[np.float64]

PHRASE_BARS = 4
_LONG = 1.4
"""An interval this much longer than is natural is waited out in the middle."""
_VARIED = 0.13
_LEAST_GAP_S = 0.12


@dataclass(frozen=True)
class Between:
    """Where times [n] lie among the marks: `number` of the mark before, `share` 0..1 of the way to the next."""

    number: NDArray[np.int64]
    share: Floats

    @property
    def phase(self) -> Floats:
        """Marks gone by."""
        return self.number + self.share


@dataclass(frozen=True)
class Marks:
    """Marks at `times_s` [m], beyond both ends of the clip too; `strength` [m] is 1 for a usual one, 0 for none.

    `natural_s` [m]: how long the movement from each mark to the next takes by itself.
    """

    times_s: Floats
    strength: Floats
    natural_s: Floats

    def between(self, at_s: Floats, late_s: float = 0.0) -> Between:
        """Where times lie, for a part of the body that is `late_s` behind."""
        at_s = at_s - late_s
        number = np.clip(np.searchsorted(self.times_s, at_s, side="right") - 1, 0, len(self.times_s) - 2)
        since, length = at_s - self.times_s[number], np.diff(self.times_s)[number]
        natural = np.where(length > _LONG * self.natural_s[number], self.natural_s[number], length)
        early = since / natural
        late = 1.0 - (length - since) / natural
        # Long intervals: half of the movement, a wait, and the other half in time for the mark.
        share = np.where(early < 0.5, early, np.maximum(late, 0.5))
        return Between(number, np.clip(share, 0.0, 1.0))

    def size(self, where: Between) -> Floats:
        """Strength of the movement that ends in the next mark [n]."""
        return self.strength[where.number + 1]

    def nearest(self, where: Between) -> Floats:
        """Strength of the nearest mark [n]."""
        return self.strength[where.number + (where.share > 0.5)]


def marks_of(
    habits: Habits,
    grid_s: Floats,
    beats_per_bar: int,
    first_bar: int,
    rests_s: Sequence[tuple[float, float]],
    seed: int,
) -> Marks:
    """The marks of somebody with these habits over beats `grid_s` [m] that begin with the downbeat of `first_bar`.

    In six only every third beat is marked. A longer grid's marks begin with the shorter one's.
    """
    number = np.arange(len(grid_s))
    # Of a bar in six there are two beats that a body follows.
    unit = 3 if beats_per_bar == 6 else 1
    bars = number // beats_per_bar + first_bar
    downbeat = number % beats_per_bar == 0
    chosen = {
        "every beat": number % unit == 0,
        "every second beat": number % (2 * unit) == unit * habits.shift,
        "downbeats": downbeat,
        "phrase ends": downbeat & (bars % PHRASE_BARS == 0),
    }[habits.feel]
    which = np.flatnonzero(chosen)
    if len(which) < 2:
        which = np.array([0, len(grid_s) - 1])
    times_s = grid_s[which] - habits.lead_s + habits.jitter_s * pink(len(which), seed, 24)
    times_s = _apart(times_s)
    strength = 1.0 + _VARIED * pink(len(which), seed, 25)
    strength = np.clip(strength * np.where(downbeat[which], 1.0 + habits.accent, 1.0), 0.3, 2.0)
    if not habits.keeps_on:
        for start_s, end_s in rests_s:
            strength[(grid_s[which] >= start_s - 1e-6) & (grid_s[which] < end_s - 1e-6)] = 0.0
    period_s = np.diff(grid_s, append=2 * grid_s[-1] - grid_s[-2])
    # A beat that is held says nothing about how fast a hand moves: the beat before does.
    usual_s = np.minimum(period_s, np.concatenate([period_s[:1], period_s[:-1]]))
    steps = {
        "every beat": unit,
        "every second beat": 2 * unit,
        "downbeats": min(beats_per_bar, 4),
        "phrase ends": 2,
    }
    return Marks(times_s, strength, steps[habits.feel] * usual_s[which])


def _apart(times_s: Floats) -> Floats:
    """The same, each at least `_LEAST_GAP_S` after the one before."""
    away = _LEAST_GAP_S * np.arange(len(times_s))
    return np.asarray(np.maximum.accumulate(times_s - away) + away)
