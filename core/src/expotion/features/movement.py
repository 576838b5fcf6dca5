"""What moves in a clip, as plain numbers: beats and accents, quantity of motion, how expressive the face is.

Quantity of motion is the picture's own (`expotion.video.motion`); the rest is what encoders say in their overlays.
The page of `expotion features show` draws it and `expotion movement` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, Overlay
from expotion.errors import MediaError, Problem
from expotion.video.motion import Motion, motion_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Movement:
    """At `times_s` float64 [n], 25 a second: the `motion` of the picture, and `expression` float64 [n].

    Expression is at least 0, NaN where no face is seen, None where nobody looked for one. `beats_s` [b] and
    `events_s` [e] in seconds, increasing; empty where there are none.
    """

    duration_s: float
    motion: Motion
    expression: Floats | None
    beats_s: Floats
    events_s: Floats

    @property
    def times_s(self) -> Floats:
        """The times of its rows, float64 [n]."""
        return self.motion.times_s

    @property
    def quantity(self) -> NDArray[np.float32]:
        """Quantity of motion float32 [n], 0..1."""
        return self.motion.quantity

    def tempo_bpm(self) -> Floats:
        """Beats a minute float64 [n]: that of the beats around; NaN before the first and after the last."""
        if len(self.beats_s) < 2:
            return np.full(len(self.times_s), np.nan)
        which = np.searchsorted(self.beats_s, self.times_s, side="right")
        inside = (which > 0) & (which < len(self.beats_s))
        periods_s = np.diff(self.beats_s)[np.clip(which - 1, 0, len(self.beats_s) - 2)]
        return np.where(inside, 60.0 / periods_s, np.nan)


def movement_of(clip: Clip, seen: Iterable[Overlay]) -> Movement:
    """The movement of a clip, with what encoders saw in it; of several that say the same, the first counts.

    Raises MediaError for a clip without a picture.
    """
    if clip.video is None:
        raise MediaError(Problem(str(clip.path or clip.id), "a clip with a picture", "sound only"))
    motion = motion_of(clip.video, clip.duration_s)
    overlays = list(seen)
    nothing = np.zeros(0)
    beats_s, events_s = (
        next((found for each in overlays if (found := getattr(each, name)) is not None and len(found)), nothing)
        for name in ("beats_s", "events_s")
    )
    expression = None
    for each in overlays:
        if expression is None and each.expression is not None and each.expression_times_s is not None:
            expression = _at(motion.times_s, each.expression_times_s, each.expression)
    return Movement(clip.duration_s, motion, expression, beats_s, events_s)


def _at(times_s: Floats, own_s: Floats, values: NDArray[np.float32]) -> Floats:
    """Values at other times: of the nearest own time; NaN where that says nothing."""
    if not len(own_s):
        return np.full(len(times_s), np.nan)
    after = np.clip(np.searchsorted(own_s, times_s), 1, max(1, len(own_s) - 1))
    before = after - 1
    after = np.minimum(after, len(own_s) - 1)
    nearest = np.where(times_s - own_s[before] <= own_s[after] - times_s, before, after)
    return np.asarray(values, dtype=np.float64)[nearest]
