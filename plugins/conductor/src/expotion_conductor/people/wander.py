"""What people do without music: drift, tremble, blink, and gesture at times of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import Draw

Floats = NDArray[np.float64]

LANDS = 0.789
"""Of the time of a movement of least jerk, where it brakes hardest (Flash and Hogan 1985)."""
_STRONG = 0.5
"""Downward, in half shoulder widths: a gesture that counts as a movement event."""


def drift(times_s: Floats, slowest_hz: float, *key: int) -> Floats:
    """A slow wandering [n] within about -1..1 that never repeats: four sines without a common period."""
    draw = Draw(*key)
    total = np.zeros(len(times_s))
    for octave in range(4):
        rate_hz = slowest_hz * 1.9**octave * draw.between(0.75, 1.25)
        total += 0.62**octave * np.sin(2 * np.pi * (rate_hz * times_s + draw.random()))
    return total / 1.7


def eased(share: Floats) -> Floats:
    """0 to 1 with least jerk, held beyond the ends."""
    share = np.clip(share, 0.0, 1.0)
    return np.asarray(share**3 * (10 - 15 * share + 6 * share**2))


def lids(times_s: Floats, end_s: float, seed: int) -> Floats:
    """How far blinks close the lids [n], 0..1."""
    draw, at_s = Draw(seed, 31), 0.0
    closed = np.zeros(len(times_s))
    while at_s < end_s + 1.0:
        at_s += draw.between(0.8, 6.0)
        closed = np.maximum(closed, 1.0 - np.abs(times_s - at_s) / 0.1)
    return np.clip(closed, 0.0, 1.0)


@dataclass(frozen=True)
class Gestures:
    """Movements of one hand from place to place at times of their own; places [g, 2] outwards and down.

    Places are in half shoulder widths from the middle of the shoulders. The hand begins at `start`.
    """

    start: Floats
    starts_s: Floats
    lengths_s: Floats
    places: Floats

    def at(self, times_s: Floats) -> Floats:
        """Where the hand is: [n, 2]."""
        place = np.tile(self.start, (len(times_s), 1))
        for start_s, length_s, target in zip(self.starts_s, self.lengths_s, self.places, strict=True):
            place += eased((times_s - start_s) / length_s)[:, None] * (target - place)
        return place

    def landings(self) -> tuple[Floats, Floats]:
        """When downward gestures are stopped, seconds [g], and how far down they went, half shoulder widths [g]."""
        before = np.concatenate([self.start[None], self.places[:-1]])
        fall = self.places[:, 1] - before[:, 1]
        strong = fall > _STRONG
        return (self.starts_s + LANDS * self.lengths_s)[strong], fall[strong]


def draw_gestures(seed: int, side: int, end_s: float, *, pointing: bool, rest: tuple[float, float]) -> Gestures:
    """Draw the gestures of one hand until `end_s`; those until an earlier end are the same."""
    draw = Draw(seed, 33, side)
    starts_s, lengths_s, places = [], [], []
    at_s = draw.between(-1.0, 1.0)
    while at_s < end_s:
        length_s = draw.between(0.25, 0.55) if pointing else draw.between(0.5, 1.6)
        back = draw.chance(0.3)
        place = rest if back else (draw.between(0.3, 2.3), draw.between(-1.3, 1.8))
        starts_s.append(at_s)
        lengths_s.append(length_s)
        places.append(place)
        # Waits of very different lengths: nothing about them is regular.
        at_s += length_s + 0.12 + 0.9 * -np.log(1.0 - draw.random())
    return Gestures(np.array(rest), np.array(starts_s), np.array(lengths_s), np.array(places).reshape(-1, 2))
