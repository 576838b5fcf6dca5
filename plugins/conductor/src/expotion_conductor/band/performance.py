"""A score as players perform it: onsets around the beat, strength from arousal and accent, lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Notes
from expotion_conductor.band.clock import Clock, swung
from expotion_conductor.band.draw import pink
from expotion_conductor.band.score import BASS, CHORDS, DRUMS, MELODY, VOICES, Stroke

Floats = NDArray[np.float64]

VELOCITY_DB, EXPRESSION_DB = 15.0, 13.0
"""Gain between arousal 0 and 1 by how hard a note is struck, and by the expression pedal while it sounds."""
_LOUDEST_DB = -1.5
_ACCENT_DB = 9.0
_VARIED_DB = 0.8
_LAG_S = {MELODY: 0.006, CHORDS: 0.002, BASS: -0.002}
_SPREAD_S = 0.004
_DRUM_S = 0.08
_GAP_S = 0.004


def perform(
    strokes: Sequence[Stroke],
    clock: Clock,
    arousal: Callable[[Floats], Floats],
    *,
    looseness_s: float,
    swing: float,
    beats_per_quarter: float,
    seed: int,
) -> Notes:
    """Notes in the order of their onsets; each voice deviates from the beat by 1/f noise of its own."""
    if not strokes:
        none = np.zeros(0, np.int64)
        return Notes(np.zeros(0), np.zeros(0), none, none, none)
    voice, pitch = (np.array([s[i] for s in strokes], np.int64) for i in (0, 1))
    at, length, accent = (np.array([s[i] for s in strokes], np.float64) for i in (2, 3, 4))
    onset_s, offset_s = clock.seconds(swung(at, swing, beats_per_quarter)), clock.seconds(at + length)
    strength_db = np.zeros(len(strokes))
    for one in range(len(VOICES)):
        mine = np.flatnonzero(voice == one)
        if not len(mine):
            continue
        # Notes struck together lean together.
        moments, which = np.unique(at[mine], return_inverse=True)
        lean_s = looseness_s * pink(len(moments), seed, 70 + one) + _LAG_S.get(one, 0.0)
        strength_db[mine] = _VARIED_DB * pink(len(moments), seed, 80 + one)[which]
        onset_s[mine] += np.clip(lean_s, -0.03, 0.03)[which]
        if one == CHORDS:
            first = np.searchsorted(which, which, side="left") if np.all(np.diff(which) >= 0) else which
            onset_s[mine] += _SPREAD_S * np.minimum(np.arange(len(mine)) - first, 4)
    offset_s = np.maximum(offset_s, onset_s + 0.03)
    offset_s[voice == DRUMS] = onset_s[voice == DRUMS] + _DRUM_S
    strength_db += (
        _LOUDEST_DB + VELOCITY_DB * (arousal(onset_s) - 1.0) + _ACCENT_DB * (np.minimum(accent, 1.0) - 1.0)
    )
    velocity = np.clip(np.rint(127.0 * 10.0 ** (strength_db / 40.0)), 8, 127).astype(np.int64)
    order = np.lexsort((pitch, voice, onset_s))
    onset_s, offset_s = onset_s[order], offset_s[order]
    pitch, velocity, voice = pitch[order], velocity[order], voice[order]
    _let_go(onset_s, offset_s, pitch, voice)
    return Notes(onset_s, offset_s, pitch, velocity, voice)


def _let_go(onset_s: Floats, offset_s: Floats, pitch: NDArray[np.int64], voice: NDArray[np.int64]) -> None:
    """End each note before the same one is struck again, in place; strokes of one moment stay as they are."""
    order = np.lexsort((onset_s, pitch, voice))
    here, after = order[:-1], order[1:]
    again = (
        (pitch[here] == pitch[after])
        & (voice[here] == voice[after])
        & (onset_s[after] > onset_s[here] + 2 * _GAP_S)
    )
    here, after = here[again], after[again]
    offset_s[here] = np.minimum(offset_s[here], onset_s[after] - _GAP_S)


def expression(arousal: Floats) -> NDArray[np.int64]:
    """The expression pedal 0..127 for an arousal 0..1, [n] -> [n]."""
    return np.rint(127.0 * 10.0 ** (EXPRESSION_DB * (np.asarray(arousal) - 1.0) / 40.0)).astype(np.int64)
