"""Guidance over prompt, negative prompt and controls: which branches of the model run, and how much each counts.

Each branch sees one more control than the one before, with a scale for each step (s_t for the text):

    l = l(nothing) + s_t (l(text) - l(nothing)) + s_1 (l(text, c_1) - l(text))
        + s_2 (l(text, c_1, c_2) - l(text, c_1)) + ..

(classifier-free guidance, Ho and Salimans 2021, composed as by Brooks et al. 2023). Controls of equal scale
share one term, so one scale for all of them costs three branches, and text and controls of one scale two.
Written as a weighted sum of branches, a branch of weight 0 is not computed; a scale of 1 everywhere leaves
one branch. With a negative prompt the text is pulled away from what the model plays for that one,

    l = l(nothing) + s_t (l(text) - l(negative)) + s_1 (l(text, c_1) - l(text)) + ..

which is a branch more (and, where all scales are 1, that of nothing too).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from expotion.adaptor.guidance import Seen, seen_at_one_scale
from expotion.music.steering import Steering
from expotion.recipe.schema import NullBranch

Says = Literal["prompt", "negative", "nothing"]


@dataclass(frozen=True)
class Branch:
    """One run of the model: what it is told in words, the controls that it sees, its weight in the sum."""

    says: Says
    controls: frozenset[str]
    weight: float


def plan(
    controls: Sequence[str],
    text_scale: float,
    control_scale: float | None,
    scales: Mapping[str, float],
    *,
    negative: bool = False,
) -> list[Branch]:
    """The branches that count, the one with most first, weights adding to 1.

    `controls` in the order of the recipe. `scales` gives some of them their own; the others take
    `control_scale`, or without one `text_scale`. Controls of the scale of the text come first, the others by
    falling scale, so that those of one scale come together. `negative`: there is a negative prompt.
    """
    rest = text_scale if control_scale is None else control_scale
    scale_of = {name: scales.get(name, rest) for name in controls}
    # Stable: the order of the recipe among equals.
    ordered = sorted(controls, key=lambda name: (scale_of[name] != text_scale, -scale_of[name]))
    # Scale of the term that each branch adds: nothing, text, one control after another. What the negative prompt
    # would add is left out: it stands between nothing and text with scale 0.
    steps: list[tuple[Says, frozenset[str], float]] = [("nothing", frozenset(), 1.0)]
    steps += [("negative", frozenset(), 0.0)] if negative else []
    steps.append(("prompt", frozenset(), text_scale))
    for name in ordered:
        steps.append(("prompt", steps[-1][1] | {name}, scale_of[name]))
    branches = []
    for index, (says, seen, scale) in enumerate(steps):
        following = steps[index + 1][2] if index + 1 < len(steps) else 0.0
        if scale != following:  # between controls of one scale the weight is 0
            branches.append(Branch(says, seen, scale - following))
    return branches[::-1] or [Branch("prompt", frozenset(ordered), 1.0)]


def steered(
    controls: Sequence[str], steering: Steering, null_branch: NullBranch, *, negative: bool
) -> tuple[list[Branch], list[Seen]]:
    """The branches of a steering that leaves nothing open, and what the prefix of each shows of the controls."""
    own, rest = steering.guidance, steering.control_scale
    branches = plan(controls, steering.cfg_scale, rest, own, negative=negative)
    if controls and rest is None and not own and len(branches) == 2 + negative:
        return branches, seen_at_one_scale(frozenset(controls), null_branch, 1 + negative)
    return branches, [branch.controls or None for branch in branches]
