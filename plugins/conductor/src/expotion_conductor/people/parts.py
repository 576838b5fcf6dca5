"""What each part of the body does between two marks: the repertoire of the people's world.

Every part adds to one `Moves`. Down is positive; a movement is lowest on its mark, where it turns: a mark is where
downward movement is stopped. Hands' places are in half shoulder widths from the middle of the shoulders,
outwards and down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expotion_conductor import gesture
from expotion_conductor.people.habits import Habits, Part
from expotion_conductor.people.marks import Between, Marks
from expotion_conductor.people.wander import Gestures, drift

Floats = NDArray[np.float64]
N_FINGERS = 5
INDEX = 1
"""Thumb, index, middle, ring, little finger."""


@dataclass
class Moves:
    """Sums of all movements at n times. Lengths of the trunk are world units, angles radians, `nod` 0..about 1.

    `hands` has by the picture's side the sum of weighted places [n, 2] and of weights [n]; `curl` [n, 5] is 0 for
    a straight finger and 1 for one in the fist.
    """

    n: int
    lean: Floats = field(init=False)
    shift: Floats = field(init=False)
    drop: Floats = field(init=False)
    nod: Floats = field(init=False)
    roll: Floats = field(init=False)
    yaw: Floats = field(init=False)
    lift: tuple[Floats, Floats] = field(init=False)
    hands: tuple[Floats, Floats] = field(init=False)
    weights: tuple[Floats, Floats] = field(init=False)
    curl: tuple[Floats, Floats] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("lean", "shift", "drop", "nod", "roll", "yaw"):
            setattr(self, name, np.zeros(self.n))
        self.lift = (np.zeros(self.n), np.zeros(self.n))
        self.hands = (np.zeros((self.n, 2)), np.zeros((self.n, 2)))
        self.weights = (np.zeros(self.n), np.zeros(self.n))
        self.curl = (np.zeros((self.n, N_FINGERS)), np.zeros((self.n, N_FINGERS)))

    def place(self, side: int, weight: Floats, out: Floats | float, down: Floats | float) -> None:
        """Want a hand somewhere, as strongly as `weight` [n] says."""
        self.hands[side][:, 0] += weight * out
        self.hands[side][:, 1] += weight * down
        self.weights[side][:] += weight


@dataclass(frozen=True)
class Moment:
    """What parts are a function of: times [n], marks, how large movements are [n], and who moves."""

    times_s: Floats
    marks: Marks
    size: Floats
    habits: Habits
    beats_per_bar: int
    bars: Floats
    """Bars gone by, [n]."""
    seed: int

    def where(self, late_s: float = 0.0) -> Between:
        """Where the times lie among the marks, for a part that is late."""
        return self.marks.between(self.times_s, late_s)

    def dip(self, where: Between, width: float = 0.17) -> Floats:
        """Down before each mark, lowest on it: 0..size [n]."""
        away = np.minimum(where.share, 1.0 - where.share)
        return np.asarray(self.size * self.marks.nearest(where) * np.exp(-0.5 * (away / width) ** 2))

    def height(self, where: Between, late_share: float = 0.0) -> Floats:
        """Up between two marks, 0 on them: 0..size [n], a smooth swing or a strike with a rebound."""
        share = np.clip(where.share - late_share, 0.0, 1.0)
        sharp = self.habits.sharp
        swing = (1 - sharp) * (0.5 - 0.5 * np.cos(2 * np.pi * share)) + sharp * np.sin(np.pi * share)
        return np.asarray(self.size * self.marks.size(where) * swing)

    def wave(self, where: Between) -> Floats:
        """From one side on a mark to the other side on the next: -size..size [n]."""
        return np.asarray(self.size * self.marks.nearest(where) * np.cos(np.pi * where.phase))

    @property
    def level(self) -> float:
        """Where hands beat, half shoulder widths below the shoulders."""
        return 0.35 + 1.3 * self.habits.height


Play = Callable[[Moves, Moment, Floats], None]


def _nod(moves: Moves, now: Moment, weight: Floats) -> None:
    moves.nod += weight * now.dip(now.where(0.02), 0.22 - 0.09 * now.habits.sharp)


def _tilt(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where(0.01)
    moves.roll += 0.2 * weight * now.wave(where)
    moves.nod += 0.5 * weight * now.dip(where, 0.2)


def _sway(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    moves.shift += 0.035 * weight * now.wave(where)
    moves.lean += 0.06 * weight * now.wave(where)
    moves.drop += 0.026 * weight * now.dip(where, 0.2)


def _bounce(moves: Moves, now: Moment, weight: Floats) -> None:
    moves.drop += 0.034 * weight * now.dip(now.where(), 0.2)


def _shoulders(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    up = 0.034 * weight * now.height(where)
    both = now.habits.shift
    for side in (0, 1):
        moves.lift[side][:] += up * np.where(both | ((where.number + side) % 2 == 0), 1.0, 0.35)


def _one_hand(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    out = 1.1 + 0.25 * now.wave(where)
    moves.place(now.habits.side, weight, out, now.level - 1.15 * now.height(where))


def _both_hands(moves: Moves, now: Moment, weight: Floats) -> None:
    for side in (0, 1):
        where = now.where(0.0 if side == now.habits.side else 0.015)
        out = 1.0 + 0.35 * now.height(where)
        moves.place(side, weight, out, now.level - 1.0 * now.height(where))


def _conduct(moves: Moves, now: Moment, weight: Floats) -> None:
    if now.habits.feel != "every beat" or now.beats_per_bar == 6:
        return _one_hand(moves, now, weight)
    places = np.arange(len(now.marks.times_s)) % now.beats_per_bar
    across, up = gesture.hand_path(now.times_s, now.marks.times_s, places, now.beats_per_bar)
    size = now.size * now.marks.size(now.where())
    moves.place(now.habits.side, weight, 1.4 + 0.95 * size * across, now.level + 0.1 - 0.95 * size * up)
    return None


def _fingers(moves: Moves, now: Moment, weight: Floats) -> None:
    side, where = now.habits.side, now.where()
    tap = now.dip(where, 0.2)
    moves.place(side, weight, 0.75, now.level + 0.16 * tap)
    moves.curl[side][:, 1:] += weight[:, None] * (0.75 - 0.75 * np.minimum(tap, 1.0)[:, None])


def _clap(moves: Moves, now: Moment, weight: Floats) -> None:
    apart = now.height(now.where())
    for side in (0, 1):
        moves.place(side, weight, 0.12 + 0.6 * apart, now.level - 0.45 * apart)


def _drums(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    for side in (0, 1):
        mine = (where.number + side) % 2  # 1: this hand strikes next
        share = 0.5 * (where.share + 1 - mine)  # of the way from its last stroke to its next
        up = now.size * now.marks.size(where) * np.sin(np.pi * share) ** 1.3
        moves.place(side, weight, 0.9, 1.35 - 1.0 * up)
        moves.curl[side][:] += 0.9 * weight[:, None]


def _guitar(moves: Moves, now: Moment, weight: Floats) -> None:
    side = now.habits.side
    strum = now.dip(now.where(), 0.24)
    moves.place(side, weight, 0.35, 1.0 + 0.75 * strum)
    neck = drift(now.times_s, 0.15, now.seed, 41)
    moves.place(1 - side, weight, 2.0 + 0.25 * neck, 0.55 + 0.2 * neck)
    for hand in (0, 1):
        moves.curl[hand][:, 1:] += 0.5 * weight[:, None]


def _piano(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    for side in (0, 1):
        press = now.dip(where, 0.15) * np.where((where.number + (where.share > 0.5) + side) % 2 == 0, 1.0, 0.55)
        along = 0.35 * drift(now.times_s, 0.3, now.seed, 42, side)
        moves.place(side, weight, 0.7 + along, 1.15 + 0.35 * press)
        taps = 0.5 + 0.5 * np.cos(np.pi * where.phase[:, None] + np.arange(N_FINGERS))
        moves.curl[side][:] += weight[:, None] * (0.25 + 0.4 * taps)


def _violin(moves: Moves, now: Moment, weight: Floats) -> None:
    where = now.where()
    bow = 0.5 + 0.5 * now.wave(where)
    moves.place(now.habits.side, weight, 0.2 + 1.5 * bow, 0.25 + 0.75 * bow)
    moves.place(1 - now.habits.side, weight, 1.5, 0.1)
    moves.drop += 0.014 * weight * now.dip(where, 0.2)
    moves.roll += (0.16 if now.habits.side == 0 else -0.16) * weight
    for hand in (0, 1):
        moves.curl[hand][:] += 0.7 * weight[:, None]


def _float(moves: Moves, now: Moment, weight: Floats) -> None:
    """Hands and trunk follow bars and phrases; only the end of a phrase is marked."""
    dip = now.dip(now.where(), 0.25)
    for side in (0, 1):
        slow = np.sin(0.5 * np.pi * now.bars + now.seed % 6 + 0.7 * side * now.habits.shift)
        wide = drift(now.times_s, 0.12, now.seed, 43, side)
        moves.place(side, weight, 1.4 + 0.5 * wide, 0.7 + now.size * (0.75 * dip - 0.6 * slow))
    moves.shift += 0.03 * weight * np.sin(0.5 * np.pi * now.bars + now.seed % 5)
    moves.nod += 0.6 * weight * dip


def _nothing(moves: Moves, now: Moment, weight: Floats) -> None:
    del moves, now, weight


PARTS: Mapping[Part, Play] = {
    "nod": _nod, "tilt": _tilt, "sway": _sway, "bounce": _bounce, "shoulders": _shoulders, "one hand": _one_hand,
    "both hands": _both_hands, "conduct": _conduct, "fingers": _fingers, "clap": _clap, "drums": _drums,
    "guitar": _guitar, "piano": _piano, "violin": _violin, "float": _float, "point": _nothing, "reach": _nothing,
    "still": _nothing,
}  # fmt: skip
"""By name; `point` and `reach` are gestures at times of their own, which `gesturing` plays."""


def gesturing(moves: Moves, times_s: Floats, gestures: tuple[Gestures, Gestures], pointing: bool) -> None:
    """Both hands go through their gestures; who points stretches the index finger."""
    whole = np.ones(len(times_s))
    for side, each in enumerate(gestures):
        place = each.at(times_s)
        moves.place(side, whole, place[:, 0], place[:, 1])
        if pointing:
            moves.curl[side][:] += 0.9
            moves.curl[side][:, INDEX] = 0.0
