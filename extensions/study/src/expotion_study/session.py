"""What a participant is asked, trial by trial, and what an answer must hold.

Who hears what, in which order, is balanced over systems, clips, positions and neighbours. A participant's number
(`slot`) decides everything; no chance is involved.

Ratings. Group a (a = 0..C-1) holds every system once: system j with clip (a + j) mod C. The C groups together hold
every (clip, system) exactly once. Participants take groups one after the other from a cyclic list, so that

- everybody hears each system equally often,
- after any number of participants the (clip, system) counts differ by at most one,
- nobody hears the same clip with the same system twice.

Inside a group the order is a row of a Williams square (Williams 1949): over its rows each system stands at each
position equally often, and each system follows each other one equally often.

Comparisons. Pairs of systems come in the order of a round-robin tournament (pairs of one round share no system),
with clips and sides rotated: over 2C laps each pair is heard on each clip once in each order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd, lcm
from typing import Any

from expotion_study.model import SCALE, Study

RATING, COMPARISON, ATTENTION = "rating", "comparison", "attention"


def rating_cells(slot: int, n_systems: int, n_clips: int, n_ratings: int) -> list[tuple[int, int]]:
    """(clip, system) of each rating of a participant, in the order of presentation.

    `n_ratings` is a multiple of `n_systems` and at most `n_systems * n_clips`. Raises ValueError otherwise.
    """
    n_groups, rest = divmod(n_ratings, n_systems)
    if rest or not 0 <= n_groups <= n_clips:
        raise ValueError(f"{n_ratings} ratings of {n_systems} systems and {n_clips} clips")
    # first clips of the groups; consecutive groups share no clip where there are enough
    step = gcd(n_systems, n_clips)
    groups = [(at + k * n_systems) % n_clips for at in range(step) for k in range(n_clips // step)]
    rows = williams_rows(n_systems)
    cells = []
    for taken in range(slot * n_groups, (slot + 1) * n_groups):
        first = groups[taken % n_clips]
        # The extra turn keeps a group from always meeting the same row.
        row = rows[(taken + taken // lcm(n_clips, len(rows))) % len(rows)]
        cells += [((first + system) % n_clips, system) for system in row]
    return cells


def comparison_cells(slot: int, n_systems: int, n_clips: int, n_comparisons: int) -> list[tuple[int, int, int]]:
    """(clip, left system, right system) of each comparison of a participant, in order."""
    pairs = round_robin(n_systems)
    cells = []
    for taken in range(slot * n_comparisons, (slot + 1) * n_comparisons):
        lap, number = divmod(taken, len(pairs))
        first, second = pairs[number]
        swapped = (number + lap % n_clips + lap // n_clips) % 2 == 1
        cells.append(((number + lap) % n_clips, *((second, first) if swapped else (first, second))))
    return cells


def williams_rows(n: int) -> list[list[int]]:
    """Orders of n things, balanced for position and neighbour: n rows for an even n, 2n for an odd one."""
    if n == 1:
        return [[0]]
    zigzag = [0]
    for step in range(1, n):
        zigzag.append((zigzag[-1] + (step if step % 2 else -step)) % n)
    rows = [[(value + shift) % n for value in zigzag] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def round_robin(n: int) -> list[tuple[int, int]]:
    """All pairs of n things in the order of a tournament's rounds (circle method)."""
    seats: list[int | None] = [*range(n), *([None] if n % 2 else [])]
    half, pairs = len(seats) // 2, []
    for _ in range(len(seats) - 1):
        for one, other in zip(seats[:half], reversed(seats), strict=False):
            if one is not None and other is not None:
                pairs.append((min(one, other), max(one, other)))
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return pairs


class Incomplete(Exception):
    """An answer that lacks something; the text is shown to the participant."""


@dataclass(frozen=True)
class Trial:
    """One page: its kind, the tokens of what is played, and for an attention check the value to choose."""

    number: int
    kind: str
    stimuli: tuple[str, ...]
    wanted: int | None = None


def trials_of(study: Study, slot: int) -> list[Trial]:
    """All trials of a place in the design: ratings with the attention checks among them, then comparisons."""
    n_systems, n_clips = len(study.systems), len(study.clips)
    asked: list[tuple[str, tuple[str, ...], int | None]] = [
        (RATING, (study.token_of(system, clip),), None)
        for clip, system in rating_cells(slot, n_systems, n_clips, study.ratings)
    ]
    for number in range(study.attention_checks):
        place = (number + 1) * len(asked) // (study.attention_checks + 1)
        # Never the middle, which people choose who do not read.
        value = (1, 2, 4, 5)[(slot + number) % 4]
        asked.insert(place, (ATTENTION, (), value))
    asked += [
        (COMPARISON, (study.token_of(left, clip), study.token_of(right, clip)), None)
        for clip, left, right in comparison_cells(slot, n_systems, n_clips, study.comparisons)
    ]
    return [Trial(number, *parts) for number, parts in enumerate(asked)]


def next_trial(trials: list[Trial], answered: set[int]) -> Trial | None:
    """The first trial without an answer, or None at the end."""
    return next((trial for trial in trials if trial.number not in answered), None)


def read_answer(study: Study, trial: Trial, form: Mapping[str, str]) -> dict[str, Any]:
    """The response to a trial from a form. Raises Incomplete where something is missing or out of range."""
    heard, open_s = _number(form, "heard"), _number(form, "seconds")  # as the page says, or None
    response: dict[str, Any] = {
        "heard": None if heard is None else min(1.0, max(0.0, heard)),
        "seconds": round(open_s, 1) if open_s is not None and 0.0 <= open_s < 1e6 else None,
    }
    if form.get("skip") == "1" and trial.kind != ATTENTION:
        return {**response, "skipped": True}
    if trial.kind == COMPARISON:
        if form.get("preferred") not in ("left", "right", "neither"):
            raise Incomplete("Please choose one of the two, or that you have no preference.")
        return {**response, "preferred": form["preferred"]}
    if trial.kind == ATTENTION:
        return {**response, "value": _value(form, "attention"), "wanted": trial.wanted}
    return {**response, "ratings": {name: _value(form, name) for name in study.criteria}}


def _value(form: Mapping[str, str], name: str) -> int:
    text = form.get(name, "")
    if text not in {str(value + 1) for value in range(len(SCALE))}:
        raise Incomplete("Please answer every question of this page.")
    return int(text)


def _number(form: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(form.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
