"""What a participant is asked, trial by trial, and what an answer must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expotion.study.design import comparison_cells, rating_cells
from expotion.study.model import SCALE, Study

RATING, COMPARISON, ATTENTION = "rating", "comparison", "attention"


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
    response: dict[str, Any] = {"heard": _fraction(form.get("heard", "")), "seconds": _seconds(form)}
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


def _fraction(text: str) -> float | None:
    """How much was heard, 0..1, as the page says; None where it does not."""
    value = _number(text)
    return None if value is None else min(1.0, max(0.0, value))


def _seconds(form: Mapping[str, str]) -> float | None:
    """How long the page was open, as it says."""
    value = _number(form.get("seconds", ""))
    return round(value, 1) if value is not None and 0.0 <= value < 1e6 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
