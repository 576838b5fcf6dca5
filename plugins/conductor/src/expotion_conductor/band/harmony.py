"""Keys, chords and voice leading.

A mode is a place to be at home within one set of seven tones, so that music of any mode keeps one key signature
and valence can move between the bright and the dark chords of it without leaving the key.
"""

from __future__ import annotations

import math
from itertools import combinations

from expotion_conductor.band.draw import Draw
from expotion_conductor.band.styles import Style

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MODES = {"major": 0, "dorian": 1, "phrygian": 2, "lydian": 3, "mixolydian": 4, "minor": 5}
"""Degree of the major scale that is the tonic."""
TONICS = ("c", "d flat", "d", "e flat", "e", "f", "f sharp", "g", "a flat", "a", "b flat", "b")

_FUNCTIONS = {
    "home": {1: 3.0, 6: 1.0, 3: 0.6},
    "away": {4: 1.6, 2: 1.0, 6: 1.0, 3: 0.5},
    "back": {5: 2.0, 4: 0.7, 7: 0.5},
}
_PHRASE = ("home", "away", "away", "back")
_BRIGHT_WEIGHT = 3.0
_DIMINISHED = 6


def scale_of(tonic: int, mode: str) -> tuple[int, ...]:
    """The seven pitch classes of a key from its tonic upwards."""
    first = MODES[mode]
    return tuple((tonic + MAJOR_SCALE[(first + step) % 7] - MAJOR_SCALE[first]) % 12 for step in range(7))


def chord_degrees(draw: Draw, bar: int, valence: float, mode: str, style: Style) -> int:
    """The degree 1..7 (of the mode) of a bar's chord: home, away, away, back, the last phrase of two ends at home.

    High valence prefers the major chords of the key, low valence the minor ones.
    """
    place = bar % 4
    if bar % 8 == 0 or (bar % 8 == 7 and draw.chance(0.4)):
        return 1
    weights = {}
    for degree, weight in _FUNCTIONS[_PHRASE[place]].items():
        root = (MODES[mode] + degree - 1) % 7
        if root == _DIMINISHED:
            continue
        bright = 1.0 if root in (0, 3, 4) else -1.0
        weights[degree] = (
            weight * style.harmony.get(str(degree), 1.0) * math.exp(_BRIGHT_WEIGHT * (valence - 0.5) * bright)
        )
    return draw.weighed(weights)


def chord_classes(scale: tuple[int, ...], degree: int, *, seventh: bool) -> tuple[int, ...]:
    """Pitch classes of the chord on a degree: root, third, fifth and perhaps the seventh."""
    return tuple(scale[(degree - 1 + step) % 7] for step in ((0, 2, 4, 6) if seventh else (0, 2, 4)))


def lead_voices(
    classes: tuple[int, ...], before: tuple[int, ...], centre: float, low: int, high: int
) -> tuple[int, ...]:
    """The voicing of a chord, low to high, that moves least from the one before and stays near `centre`.

    Every tone of the chord is there once, within an octave and a fourth; pitches lie within low..high.
    """
    near = [
        pitch
        for pitch in range(max(low, round(centre) - 12), min(high, round(centre) + 12) + 1)
        if pitch % 12 in classes
    ]
    best: tuple[int, ...] = ()
    least = math.inf
    for voicing in combinations(near, len(classes)):
        if len({pitch % 12 for pitch in voicing}) < len(classes) or voicing[-1] - voicing[0] > 17:
            continue
        middle = sum(voicing) / len(voicing)
        moved = sum(abs(a - b) for a, b in zip(voicing, before, strict=False)) if before else 0.0
        cost = (
            moved + 1.2 * abs(middle - centre) + (4.0 if voicing[1] - voicing[0] < 3 and voicing[0] < 55 else 0.0)
        )
        if cost < least:
            best, least = voicing, cost
    return best or tuple(sorted(centre_pitch(pitch_class, centre) for pitch_class in classes))


def centre_pitch(pitch_class: int, centre: float) -> int:
    """The pitch of a class nearest to `centre`."""
    return round((centre - pitch_class) / 12) * 12 + pitch_class
