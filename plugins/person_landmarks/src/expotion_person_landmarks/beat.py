"""The beat of a movement: core's tracker (`expotion.beats`) on the braking of downward movement.

Random gestures, and a network's trembling where somebody keeps still, look regular more often than random sounds:
certainty is lower by 3.4 in log odds than the tracker's (live by 1.5, where the second test is not at hand), and
higher by what the test of `events.chance_of_regularity` says for a beat, at most ln(1 / (-e p ln p)) (Sellke,
Bayarri and Berger 2001, 'Calibration of p values'). What that comes to on rendered people is measured by
`benchmarks/movement_beat.py` (docs/results.md, 'On people').
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from expotion.beats import FRAME_RATE_HZ, LEAST_CERTAINTY, Followed, Follower, follow
from expotion_person_landmarks.events import Floats, Movement, chance_of_regularity

DELAY_S = 0.25
"""Of the causal variant's activation: braking is known when the frames around it are. Its phase is foreseen."""
BRAKING_UNIT = 10.0
CHANNELS = ("activation", "phase_sin", "phase_cos", "tempo", "certainty")
"""Braking / 10 at most 4; sine and cosine of the phase times the certainty; log2 of the tempo / 100; certainty."""

_DOUBT, _LIVE_DOUBT = 3.4, 1.5


def movement_beat(moves: Movement) -> Followed:
    """The beat of a whole movement; `beats_s` from the clip's start, certainty that of movement."""
    known = np.flatnonzero(moves.known)
    n = len(moves.braking)
    if not len(known):
        return Followed(np.zeros(0), np.zeros(n), np.zeros(n), np.zeros(n), 0.0)
    first, last = int(known[0]), int(known[-1])
    found = follow(moves.braking[first : last + 1])
    chance = chance_of_regularity(moves)
    speaks = float(-np.log(-np.e * chance * np.log(chance))) if chance < 1 / np.e else 0.0

    def around(values: Floats) -> Floats:
        return np.pad(values, (first, n - 1 - last), mode="edge")

    return replace(
        found,
        beats_s=found.beats_s + first / FRAME_RATE_HZ,
        phase=np.pad(found.phase, (first, n - 1 - last)),
        tempo_bpm=around(found.tempo_bpm),
        certainty=around(_turned(found.certainty, speaks - _DOUBT)),
        overall=float(_turned(np.array(found.overall), speaks - _DOUBT)),
    )


def causal_movement_beat(moves: Movement) -> Followed:
    """The same as it can be told live: row i from what was seen until then; activation comes `DELAY_S` late.

    Phase is foreseen over the delay, and `beats_s` are where it passes 0; `overall` is the certainty at the end.
    """
    follower, late = Follower(), round(DELAY_S * FRAME_RATE_HZ)
    told = np.array([follower.push(float(value)) for value in moves.braking])
    told = np.concatenate([np.zeros((late, 3)), told])[: len(moves.braking)]
    tempo_bpm = told[:, 1]
    phase = np.where(tempo_bpm > 0, (told[:, 0] + DELAY_S * tempo_bpm / 60.0) % 1.0, 0.0)
    certainty = live_certainty(told[:, 2])
    beats: list[int] = []
    for frame in np.flatnonzero(np.diff(phase) < -0.5) + 1:
        if not beats or (frame - beats[-1]) * tempo_bpm[frame] > 0.4 * 60.0 * FRAME_RATE_HZ:
            beats.append(int(frame))
    return Followed(np.array(beats) / FRAME_RATE_HZ, phase, tempo_bpm, certainty, float(certainty[-1]))


def live_certainty(certainty: Floats) -> Floats:
    """Certainty of movement from the follower's own."""
    return _turned(certainty, -_LIVE_DOUBT)


def told_beat(beats_s: Floats, duration_s: float) -> Followed:
    """The beat of a clip that knows its beats [b], at least two: certain, going on beyond the ends."""
    n = int(duration_s * FRAME_RATE_HZ) + 1
    first, last = beats_s[1] - beats_s[0], beats_s[-1] - beats_s[-2]
    before = beats_s[0] - first * np.arange(int(np.ceil(beats_s[0] / first)), 0, -1)
    after = beats_s[-1] + last * np.arange(1, int(np.ceil(max(duration_s - beats_s[-1], 0.0) / last)) + 2)
    edges = np.concatenate([before, beats_s, after])
    at_s = np.arange(n) / FRAME_RATE_HZ
    which = np.clip(np.searchsorted(edges, at_s, side="right") - 1, 0, len(edges) - 2)
    period_s = np.diff(edges)[which]
    return Followed(beats_s, (at_s - edges[which]) / period_s % 1.0, 60.0 / period_s, np.ones(n), 1.0)


def beat_rows(found: Followed, at_s: Floats) -> NDArray[np.float32]:
    """Values float32 [m, 5] by `CHANNELS` at `at_s` [m] of a certain beat: the accent is a bump on it, 50 ms wide.

    What was learned from beats that are known is asked for in the same words: where a beat is said, it is in full.
    """
    frame = _frames(found, at_s)
    tempo_bpm, angle = found.tempo_bpm[frame], 2 * np.pi * found.phase[frame]
    away_s = np.minimum(found.phase, 1.0 - found.phase)[frame] * 60.0 / np.maximum(tempo_bpm, 1.0)
    columns = [
        np.exp(-0.5 * (away_s / 0.05) ** 2),
        np.sin(angle),
        np.cos(angle),
        np.log2(np.where(tempo_bpm > 0, tempo_bpm, 100.0) / 100.0),
        np.ones(len(at_s)),
    ]
    return np.column_stack(columns).astype(np.float32)


def said_at(found: Followed, at_s: Floats, *, causal: bool) -> NDArray[np.bool_]:
    """Where a beat is said [m]: by the eight seconds around, or by the whole, which live nobody knows."""
    return np.asarray((found.certainty[_frames(found, at_s)] >= LEAST_CERTAINTY) | (found.has_beat and not causal))


def _frames(found: Followed, at_s: Floats) -> NDArray[np.int_]:
    return np.asarray(np.clip((at_s * FRAME_RATE_HZ).astype(int), 0, len(found.phase) - 1))


def beat_features(
    moves: Movement, at_s: Floats, *, causal: bool, found: Followed | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values float32 [m, 5] by `CHANNELS` at `at_s` [m], and where both shoulders are known [m].

    `found`: the beat, where it is known already.
    """
    if found is None:
        found = causal_movement_beat(moves) if causal else movement_beat(moves)
    frame = np.clip((at_s * FRAME_RATE_HZ).astype(int), 0, len(moves.braking) - 1)
    seen = np.maximum(frame - round(DELAY_S * FRAME_RATE_HZ), 0) if causal else frame
    angle, certainty = 2 * np.pi * found.phase[frame], found.certainty[frame]
    tempo_bpm = found.tempo_bpm[frame]
    values = np.column_stack(
        [
            np.minimum(moves.braking[seen] / BRAKING_UNIT, 4.0),
            np.sin(angle) * certainty,
            np.cos(angle) * certainty,
            np.log2(np.where(tempo_bpm > 0, tempo_bpm, 100.0) / 100.0),
            certainty,
        ]
    )
    valid = moves.known[seen]
    return np.where(valid[:, None], values, 0.0).astype(np.float32), valid


def _turned(certainty: Floats, by: float) -> Floats:
    """Certainty with log odds changed."""
    odds = certainty * np.exp(by)
    return np.asarray(odds / (odds + 1.0 - certainty))
