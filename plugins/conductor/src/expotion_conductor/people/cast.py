"""Everybody and everything in the picture of one clip of the people's world, and the plan of such a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expotion_conductor.band.draw import Draw
from expotion_conductor.band.piece import Piece, make_piece
from expotion_conductor.people.habits import Role, draw_habits
from expotion_conductor.people.looks import make_looks
from expotion_conductor.people.mover import AHEAD_S, Who
from expotion_conductor.people.shot import CHANGES, Shot, draw_frame_times, draw_shot
from expotion_conductor.plan import Plan

Floats = NDArray[np.float64]

PEOPLE_VERSION = 1
"""Part of every content hash: raise it when the same seed gives another picture."""
Passing = Literal["nothing", "screen", "passer-by", "fan", "leaves"]
_PASSING: dict[Passing, float] = {"nothing": 0.6, "screen": 0.1, "passer-by": 0.1, "fan": 0.08, "leaves": 0.12}
_SECOND_SHARE = 0.12
_PERFORMED_SHARE = 0.5


@dataclass(frozen=True)
class People:
    """The lead, perhaps a second person behind, what moves in the background, and when frames were taken."""

    lead: Who
    second: Who | None
    passing: Passing
    frame_times_s: Floats
    change: str = ""
    """The name of a changed framing."""

    @property
    def described(self) -> str:
        """What a content hash has to know beside the seed."""
        return f"people {PEOPLE_VERSION}, {self.lead.habits.role}, {self.change}"


def people_plan(
    seed: int,
    duration_s: float = 10.0,
    *,
    performed: bool | None = None,
    role: Role | None = None,
    change: str = "",
) -> Plan:
    """Draw the plan of one clip: a piece of the band and people who move to it.

    Args:
        seed: any non-negative integer; every purpose has its own range (`plan.py`).
        duration_s: length in seconds, more than 0; a longer clip begins as the shorter one.
        performed: all metres, performed timing, fermatas and rests, or a steady 3/4 or 4/4; half of the clips each
            where it is None.
        role: what the lead moves for; drawn where it is None.
        change: one of `CHANGES`: the framing, with nobody else there and nothing moving behind.

    Raises:
        ValueError: for a length that is not positive and finite.
        KeyError: for a change that does not exist.
    """
    draw = Draw(seed, 5)
    drawn, person_seed, other_seed = draw.chance(_PERFORMED_SHARE), draw.below(2**31), draw.below(2**31)
    passing, has_second = draw.weighed(_PASSING), draw.chance(_SECOND_SHARE)
    steady = not (drawn if performed is None else performed)
    piece = make_piece(seed, duration_s, steady=steady, breaks=True)
    ahead = make_piece(seed, duration_s + AHEAD_S, steady=steady, breaks=True)
    shot = draw_shot(person_seed)
    lead = _who(person_seed, ahead, CHANGES[change](shot) if change else shot, role)
    second = _other(other_seed, duration_s, shot) if has_second and not change else None
    people = People(
        lead=lead,
        second=second,
        passing="nothing" if change else passing,
        frame_times_s=draw_frame_times(person_seed, duration_s),
        change=change,
    )
    heard = np.ones(len(piece.beats_s), dtype=np.bool_)
    for start_s, end_s in piece.rests_s:
        heard &= (piece.beats_s < start_s - 1e-6) | (piece.beats_s > end_s - 1e-6)
    return Plan(
        seed=seed,
        duration_s=piece.duration_s,
        tempo_bpm=piece.tempo_bpm,
        beats_per_bar=piece.beats_per_bar,
        beats_s=piece.beats_s[heard],
        beat_in_bar=piece.beat_in_bar[heard],
        intensity_times_s=piece.times_s,
        intensity=piece.intensity,
        timbre=piece.traits.lead,
        mood=piece.traits.mood,
        caption=piece.caption,
        music_seed=seed,
        person_seed=person_seed,
        late_period_s=None if steady else piece.last_period_s,
        piece=piece,
        people=people,
    )


def _who(seed: int, piece: Piece, shot: Shot, role: Role | None) -> Who:
    return Who(
        seed=seed,
        looks=make_looks(seed),
        habits=draw_habits(seed, role),
        shot=shot,
        grid_s=piece.clock.grid_s,
        beats_per_bar=piece.beats_per_bar,
        first_bar=piece.first_bar,
        rests_s=piece.rests_s,
        times_s=piece.times_s,
        arousal=piece.intensity,
        valence=piece.valence,
    )


def _other(seed: int, duration_s: float, shot: Shot) -> Who:
    """Somebody further behind, at one side, who moves to a piece that nobody hears."""
    draw = Draw(seed, 6)
    who = _who(seed, make_piece(seed, duration_s + AHEAD_S), shot, None)
    out, down = draw.pick((-1.0, 1.0)) * draw.between(0.24, 0.42), draw.between(-0.02, 0.08)
    looks = replace(who.looks, camera=replace(who.looks.camera, tint=make_looks(seed + 1).camera.tint))
    return replace(who, looks=looks, zoom=draw.between(0.55, 0.9), offset=(out, down))
