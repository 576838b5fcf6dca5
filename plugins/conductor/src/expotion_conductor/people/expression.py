"""What a face shows: brows, eyes, mouth and smile apart, driven by arousal, valence and the person's own ways."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import Draw
from expotion_conductor.people.wander import drift, lids

Floats = NDArray[np.float64]

LAG_S = 0.12
"""A face shows the mean of a curve over twice this time, up to now."""
_OWN = 0.12
"""How far each part of a face wanders by itself."""


@dataclass(frozen=True)
class Expression:
    """The parts of a face at n times, each [n].

    `brow_raise` 0..1 all of the brows up, `brow_sad` 0..1 their inner ends up, `brow_frown` 0..1 these down,
    `eye_open` 0 closed .. 1 wide, `mouth_open` 0..1, `smile` -1 corners down .. 1 up, `gaze` -1..1.
    """

    brow_raise: Floats
    brow_sad: Floats
    brow_frown: Floats
    eye_open: Floats
    mouth_open: Floats
    smile: Floats
    gaze: Floats

    def named(self) -> dict[str, Floats]:
        """All parts by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def express(times_s: Floats, arousal: Floats, valence: Floats, end_s: float, seed: int) -> Expression:
    """The face at `times_s` [n] of somebody who feels `arousal` and `valence` [n], both 0..1; blinks until `end_s`.

    People differ in how much they show, in how they look at rest, and in whether they sing along.
    """
    draw = Draw(seed, 51)
    shows_a, shows_v, rest, sings = (
        draw.between(0.55, 1.2),
        draw.between(0.55, 1.2),
        draw.between(-0.2, 0.2),
        draw.chance(0.25),
    )
    own = [_OWN * drift(times_s, 0.11, seed, 52, i) for i in range(5)]
    bright, dark = np.maximum(2 * valence - 1, 0.0) * shows_v, np.maximum(1 - 2 * valence, 0.0) * shows_v
    awake = (arousal - 0.45) * shows_a
    smile = np.clip(rest + 1.05 * bright - 1.05 * dark + 0.1 * awake + own[0], -1.0, 1.0)
    wide = 0.55 + 0.5 * awake - 0.18 * np.maximum(smile, 0.0) + own[1]
    mouth = 0.12 + 0.85 * np.maximum(awake, 0.0) * (1 - 0.5 * dark) + own[2]
    if sings:
        syllables = np.abs(
            np.sin(2 * np.pi * draw.between(1.2, 2.4) * times_s + 2.0 * drift(times_s, 0.3, seed, 53))
        )
        mouth = mouth + (0.12 + 0.3 * arousal) * syllables
    return Expression(
        brow_raise=np.clip(0.25 + 0.8 * awake + 0.15 * bright + own[3], 0.0, 1.0),
        brow_sad=np.clip(dark * (1.05 - 0.8 * arousal) + own[4], 0.0, 1.0),
        brow_frown=np.clip(dark * (0.15 + 1.1 * arousal) - own[4], 0.0, 1.0),
        eye_open=np.clip(wide, 0.1, 1.0) * (1.0 - lids(times_s, end_s, seed)),
        mouth_open=np.clip(mouth, 0.0, 1.0),
        smile=smile,
        gaze=drift(times_s, 0.2, seed, 54),
    )
