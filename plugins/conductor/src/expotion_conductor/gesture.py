"""How a conductor's hand beats time: the classical patterns in two, three, four and six, as functions of time.

Between two beats the hand travels from one ictus point to the next on an arc. The horizontal part and the
ictus heights are joined by a smoothstep, whose slope is zero at both ends; the arc itself is a half sine that
starts rising and ends falling at full speed. So the hand's height has a sharp minimum exactly at every beat
(the ictus), at any tempo and amplitude, and the velocity jumps from down to up there (the rebound).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pattern:
    """Ictus points and arcs of a bar in reach units: `x` outwards, `y` up, `arc` the height after it."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    arc: tuple[float, ...]


PATTERNS = {
    2: Pattern(x=(-0.04, 0.40), y=(-0.62, -0.20), arc=(0.66, 1.42)),
    3: Pattern(x=(-0.15, 0.60, 0.18), y=(-0.62, -0.42, -0.18), arc=(0.62, 0.70, 1.42)),
    4: Pattern(x=(-0.08, -0.58, 0.66, 0.20), y=(-0.62, -0.44, -0.42, -0.16), arc=(0.58, 0.66, 0.70, 1.42)),
    6: Pattern(
        x=(-0.06, -0.34, -0.62, 0.36, 0.68, 0.20),
        y=(-0.62, -0.48, -0.46, -0.44, -0.42, -0.16),
        arc=(0.52, 0.50, 0.70, 0.52, 0.66, 1.42),
    ),
}
"""By beats per bar. In two: down, up. In three: down, out, up. In four: down, in, out, up. In six: down, in, in,
out, out, up. The last arc is the high upbeat."""


def beat_grid(
    beats_s: Floats,
    beat_in_bar: NDArray[np.int64],
    beats_per_bar: int,
    end_s: float,
    periods_s: tuple[float, float],
) -> tuple[Floats, NDArray[np.int64]]:
    """Beats, however they fall, extended to cover [-2, end_s + 2] s: times [m] and places in the bar [m].

    `periods_s`: seconds from beat to beat before the first one and after the last.
    """
    before_s, after_s = periods_s
    if len(beats_s) == 0:
        beats_s, beat_in_bar = np.array([end_s]), np.array([0], dtype=np.int64)
    n_before = int(np.ceil((beats_s[0] + 2.0) / before_s)) + 1
    n_after = int(np.ceil((end_s + 2.0 - beats_s[-1]) / after_s)) + 1
    before = np.arange(-n_before, 0)
    after = np.arange(1, n_after + 1)
    times_s = np.concatenate([beats_s[0] + before * before_s, beats_s, beats_s[-1] + after * after_s])
    places = np.concatenate([beat_in_bar[0] + before, beat_in_bar, beat_in_bar[-1] + after]) % beats_per_bar
    return times_s, places.astype(np.int64)


def hand_path(
    times_s: Floats, grid_s: Floats, places: NDArray[np.int64], beats_per_bar: int
) -> tuple[Floats, Floats]:
    """The beating hand at `times_s` [n]: outward x [n] and upward y [n] in reach units.

    Raises ExpotionError for a metre without a pattern.
    """
    pattern = PATTERNS.get(beats_per_bar)
    if pattern is None:
        raise ExpotionError(f"a conductor's pattern needs {sorted(PATTERNS)} beats per bar, got {beats_per_bar}")
    before = np.clip(np.searchsorted(grid_s, times_s, side="right") - 1, 0, len(grid_s) - 2)
    phase = np.clip((times_s - grid_s[before]) / (grid_s[before + 1] - grid_s[before]), 0.0, 1.0)
    here, there = places[before], places[before + 1]
    x, y, arc = (np.asarray(values) for values in (pattern.x, pattern.y, pattern.arc))
    ease = phase * phase * (3.0 - 2.0 * phase)
    lift = np.sin(np.pi * phase * (0.85 + 0.15 * phase))
    return x[here] + (x[there] - x[here]) * ease, y[here] + (y[there] - y[here]) * ease + arc[here] * lift


def nod(times_s: Floats, grid_s: Floats, places: NDArray[np.int64]) -> Floats:
    """Head nod 0..1 [n]: a short dip that peaks 60 ms after each beat, twice as deep on the downbeat."""
    before = np.clip(np.searchsorted(grid_s, times_s, side="right") - 1, 0, len(grid_s) - 1)
    since = (times_s - grid_s[before]) / 0.06
    depth = np.where(places[before] == 0, 1.0, 0.5)
    return np.asarray(depth * since * np.exp(1.0 - since))


def two_bone(shoulder: Floats, wrist: Floats, pole: Floats, upper: float, fore: float) -> tuple[Floats, Floats]:
    """Two-bone inverse kinematics of an arm in space.

    `shoulder`, `wrist` [n, 3] (x right, y down, z towards the viewer); `pole` [3] is where the elbow would
    like to go. Returns elbow and wrist [n, 3]; a wrist out of reach is pulled in towards the shoulder.
    """
    delta = wrist - shoulder
    distance = np.maximum(np.sqrt((delta**2).sum(axis=1)), 1e-9)
    reachable = np.clip(distance, abs(upper - fore) + 1e-3, 0.995 * (upper + fore))
    direction = delta / distance[:, None]
    wrist = shoulder + direction * reachable[:, None]
    along = (upper**2 - fore**2 + reachable**2) / (2.0 * reachable)
    across = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    sideways = pole - direction * (direction * pole).sum(axis=1)[:, None]
    sideways /= np.maximum(np.sqrt((sideways**2).sum(axis=1)), 1e-9)[:, None]
    elbow = shoulder + direction * along[:, None] + sideways * across[:, None]
    return elbow, wrist
