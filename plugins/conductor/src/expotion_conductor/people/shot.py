"""How the camera sees people: framing, shake, exposure, the times of its frames; and named changes of framing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import Draw

Floats = NDArray[np.float64]

FOCUS = (0.5, 0.45)
"""This place of the world lies there in the picture, where the framing is off centre by nothing."""
_SHAKE_HZ = (2.3, 3.7, 5.3, 7.9)
_RATES_HZ = {12.0: 6, 15.0: 12, 20.0: 8, 24.0: 12, 25.0: 18, 30000 / 1001: 12, 30.0: 22, 50.0: 4, 60.0: 6}
"""Frame rates and how common they are."""
_LATEST_START_S = 1.0


@dataclass(frozen=True)
class Shot:
    """The framing of a clip. Offsets, drift and shake are in sides of the picture.

    `offset` is where `FOCUS` lies beside its usual place; `shake` the deviation of fast movement on each axis,
    `drift` of slow; `exposure` by how much brightness hunts, `flicker` by how much lamps flicker; `soft` blurs.
    """

    zoom: float
    offset: tuple[float, float]
    roll: float
    drift: float
    shake: float
    exposure: float
    flicker: float
    soft: bool
    phases: tuple[float, ...]

    def matrices(
        self, times_s: Floats, zoom: float | None = None, offset: tuple[float, float] | None = None
    ) -> Floats:
        """World to pixels of a picture of side 1: [n, 2, 3]; another zoom and offset for what stands elsewhere."""
        zoom, offset = zoom or self.zoom, offset or self.offset
        p = self.phases
        slow = self.drift * np.stack(
            [np.sin(0.83 * times_s + p[0]) + 0.4 * np.sin(2.9 * times_s + p[1]),
             np.sin(0.67 * times_s + p[2]) + 0.4 * np.sin(3.3 * times_s + p[3])]
        )  # fmt: skip
        fast = np.zeros_like(slow)
        for i, rate_hz in enumerate(_SHAKE_HZ):
            # A hand trembles at no steady rate: its own slow wandering turns the phase by several radians.
            turn = 2 * np.pi * rate_hz * times_s
            wander = 3.0 * np.sin((1.1 + 0.37 * i) * times_s + p[i])
            fast += np.stack([np.sin(turn + wander + p[4 + i]), np.sin(1.13 * turn - wander + p[8 + i])])
        move = slow + self.shake * fast / np.sqrt(len(_SHAKE_HZ) / 2)
        angle = self.roll + 0.6 * self.drift * np.sin(0.51 * times_s + p[12])
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        x = FOCUS[0] + offset[0] + move[0] - cos * FOCUS[0] + sin * FOCUS[1]
        y = FOCUS[1] + offset[1] + move[1] - sin * FOCUS[0] - cos * FOCUS[1]
        return np.stack([np.stack([cos, -sin, x], axis=1), np.stack([sin, cos, y], axis=1)], axis=1)

    def gains(self, times_s: Floats) -> Floats:
        """How bright frames at these times are: [n] around 1. Lamps flicker a hundred times a second."""
        p = self.phases
        hunting = np.sin(0.9 * times_s + p[13]) + 0.5 * np.sin(2.1 * times_s + p[14])
        lamps = np.sin(2 * np.pi * 100.0 * times_s + p[15])
        return np.asarray(1.0 + self.exposure * hunting + self.flicker * lamps)


def draw_shot(seed: int) -> Shot:
    """Draw a framing: a third as a webcam's user sits, the rest at any size between half and one and a half."""
    draw = Draw(seed, 11)
    zoom = draw.between(0.92, 1.1) if draw.chance(0.33) else 0.5 * 3.0 ** draw.random()
    off = draw.chance(0.45)
    reach = 0.3 if off else 0.05
    hand_held = draw.random()
    return Shot(
        zoom=zoom,
        offset=(draw.between(-reach, reach), draw.between(-0.5 * reach, 0.7 * reach)),
        roll=draw.between(-0.12, 0.12) if draw.chance(0.3) else draw.between(-0.03, 0.03),
        drift=draw.between(0.002, 0.012) if hand_held < 0.4 else 0.0,
        shake=draw.between(0.001, 0.011) if hand_held < 0.3 else 0.0,
        exposure=draw.between(0.0, 0.12) if draw.chance(0.4) else 0.0,
        flicker=draw.between(0.0, 0.06) if draw.chance(0.3) else 0.0,
        soft=draw.chance(0.35),
        phases=tuple(draw.between(0.0, 2 * np.pi) for _ in range(16)),
    )


def draw_frame_times(seed: int, duration_s: float) -> Floats:
    """Times of the frames [n] within the clip: 12 to 60 a second, a third of the clips not evenly.

    One clip in three starts late, as pictures do beside their sound; uneven ones switch rates as telephones do in
    poor light, tremble, or stall. A longer clip's begin with the shorter one's.
    """
    draw = Draw(seed, 12)
    start_s = draw.between(0.0, _LATEST_START_S) if draw.chance(0.33) else 0.0
    step_s = 1.0 / draw.weighed(_RATES_HZ)
    kind = draw.random()
    every = np.random.default_rng([seed, 13]).random((int(duration_s / step_s) + 2, 2))
    steps_s = np.full(len(every), step_s)
    if kind < 0.12:
        steps_s = np.where(np.repeat(every[::8, 0], 8)[: len(every)] < 0.5, step_s, 1.5 * step_s)
    elif kind < 0.24:
        steps_s = step_s * (0.7 + 0.6 * every[:, 0])
    elif kind < 0.34:
        steps_s = np.where(every[:, 0] < 0.03, step_s * (2 + np.floor(5 * every[:, 1])), step_s)
    times_s = start_s + np.concatenate([[0.0], np.cumsum(steps_s)])
    inside = times_s[times_s < duration_s]
    return np.asarray(inside if len(inside) else np.zeros(1))


def _as_drawn(shot: Shot) -> Shot:
    return replace(shot, zoom=1.0, offset=(0.0, 0.0), roll=0.0, drift=0.0, shake=0.0)


CHANGES: Mapping[str, Callable[[Shot], Shot]] = {
    "as drawn": _as_drawn,
    "half size": lambda shot: replace(_as_drawn(shot), zoom=0.5),
    "1.5x": lambda shot: replace(_as_drawn(shot), zoom=1.5, offset=(0.0, 0.06)),
    "off centre": lambda shot: replace(_as_drawn(shot), offset=(0.2 if shot.phases[0] > np.pi else -0.2, 0.08)),
    "4-pixel shake": lambda shot: replace(_as_drawn(shot), shake=4 / 192),
    "cropped hands": lambda shot: replace(_as_drawn(shot), zoom=1.2, offset=(0.0, 0.22)),
}
"""One thing changed at a time, by the names of the readout's table; `as drawn` is centred, upright and still."""
