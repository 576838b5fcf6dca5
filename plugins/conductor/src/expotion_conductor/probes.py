"""Conductors who do what none does in training: the tempo steps by 35 %, or the hand stops.

Each is another clip's plan with one thing changed, so that face, looks and words are those of that clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from expotion_conductor.plan import GRID_S, TEMPO_RANGE_BPM, Plan

if TYPE_CHECKING:
    from expotion_conductor.band.piece import Piece
    from expotion_conductor.people.cast import People

STEP = 1.35
"""By how much the tempo steps, up or down."""
STOP_S = 2.0
"""The hand comes to rest on the last beat before this."""
SILENCE_S = 0.05
"""The band plays the last beat, late players too, and no note after it."""


def tempo_step(plan: Plan) -> Plan:
    """The tempo steps by 35 % at the first beat of the second half: up, or down where it would leave the range."""
    up = plan.tempo_bpm * STEP <= TEMPO_RANGE_BPM[1]
    late_s = GRID_S * round(plan.beat_period_s * (1 / STEP if up else STEP) / GRID_S)
    early = plan.beats_s[plan.beats_s < plan.duration_s / 2]
    first_s = float(early[-1]) + plan.beat_period_s if len(early) else float(plan.duration_s / 2)
    late = first_s + late_s * np.arange(int(np.ceil((plan.duration_s - first_s) / late_s)) + 1)
    beats_s = np.concatenate([early, late[late < plan.duration_s]])
    first = int(plan.beat_in_bar[0]) if len(plan.beat_in_bar) else 0
    in_bar = (first + np.arange(len(beats_s), dtype=np.int64)) % plan.beats_per_bar
    piece = plan.piece and replace(plan.piece, beats_s=beats_s, beat_in_bar=in_bar, last_period_s=late_s)
    return replace(
        plan,
        variant="tempo_step",
        beats_s=beats_s,
        beat_in_bar=in_bar,
        late_period_s=late_s,
        piece=piece,
        people=_follow(plan.people, piece) if plan.people and piece else None,
    )


def stop(plan: Plan) -> Plan:
    """The hand rests from the last beat before 2 s on, and no beat follows; the face goes on."""
    beats_s = plan.beats_s[plan.beats_s < STOP_S]
    rest_s = float(beats_s[-1]) if len(beats_s) else 0.0
    in_bar = plan.beat_in_bar[: len(beats_s)]
    piece = plan.piece and replace(
        plan.piece, beats_s=beats_s, beat_in_bar=in_bar, silent_from_s=rest_s + SILENCE_S
    )
    return replace(
        plan,
        variant="stop",
        beats_s=beats_s,
        beat_in_bar=in_bar,
        rests_from_s=rest_s,
        piece=piece,
        people=_follow(plan.people, plan.piece, rest_s) if plan.people and plan.piece else None,
    )


def _follow(people: People, piece: Piece, rest_s: float = float("inf")) -> People:
    """The lead moves to the changed piece, and not at all from `rest_s` on."""
    lead = people.lead
    rests_s = (*piece.rests_s, *(((rest_s, float("inf")),) if np.isfinite(rest_s) else ()))
    habits = replace(lead.habits, keeps_on=lead.habits.keeps_on and not np.isfinite(rest_s))
    return replace(people, lead=replace(lead, habits=habits, grid_s=piece.clock.grid_s, rests_s=rests_s))


PROBES: Mapping[str, Callable[[Plan], Plan]] = {"tempo_step": tempo_step, "stop_after_2s": stop}
"""By the name of the row."""
