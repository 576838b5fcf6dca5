"""Which branches guidance runs, and that their weighted sum is the formula."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion.music.guidance import Branch, plan
from expotion.musicgen.generate import guide

SCALES = st.sampled_from([0.0, 0.5, 1.0, 3.0, 4.0])


def literal(
    controls: list[str], text: float, scales: dict[str, float], logits: dict[object, float], against: str
) -> float:
    """The formula of `generation.guidance`, term by term: the text's scale first, then falling."""
    seen: frozenset[str] = frozenset()
    total = logits[("nothing", seen)] + text * (logits[("prompt", seen)] - logits[(against, seen)])
    for name in sorted(controls, key=lambda name: (scales[name] != text, -scales[name])):
        total += scales[name] * (logits[("prompt", seen | {name})] - logits[("prompt", seen)])
        seen |= {name}
    return total


@settings(deadline=None)
@given(
    st.lists(st.sampled_from("abc"), unique=True),
    SCALES,
    st.dictionaries(st.sampled_from("abc"), SCALES),
    SCALES,
    st.booleans(),
)
def test_the_weighted_sum_is_the_formula(
    controls: list[str], text: float, own: dict[str, float], rest: float, negative: bool
) -> None:
    branches = plan(controls, text, rest, own, negative=negative)
    generator = torch.Generator().manual_seed(1)
    logits: dict[object, float] = {}
    for n in range(8):
        some = frozenset(name for bit, name in enumerate("abc") if n >> bit & 1)
        for says in ("prompt", "negative", "nothing"):
            logits[(says, some)] = float(torch.randn((), generator=generator))
    stacked = torch.tensor([[logits[(b.says, b.controls)]] for b in branches], dtype=torch.float64)
    found = float(guide(stacked, [b.weight for b in branches]))
    scales = {name: own.get(name, rest) for name in controls}
    assert found == pytest.approx(
        literal(controls, text, scales, logits, "negative" if negative else "nothing"), abs=1e-9
    )
    assert sum(b.weight for b in branches) == pytest.approx(1.0)
    assert all(b.weight != 0 for b in branches)


@pytest.mark.parametrize(
    ("controls", "text", "rest", "own", "n_branches"),
    [
        ([], 3.0, None, {}, 2),
        ([], 1.0, None, {}, 1),
        (["face", "motion"], 3.0, None, {}, 2),
        (["face", "motion"], 3.0, 4.0, {}, 3),
        (["face", "motion"], 3.0, 4.0, {"face": 2.0}, 4),
        (["face", "motion"], 3.0, 3.0, {"face": 4.0}, 3),
        (["face", "motion"], 1.0, 1.0, {}, 1),
        (["face"], 3.0, None, {"face": 0.0}, 2),
    ],
)
def test_the_cost_in_branches(
    controls: list[str], text: float, rest: float | None, own: dict[str, float], n_branches: int
) -> None:
    assert len(plan(controls, text, rest, own)) == n_branches


@pytest.mark.parametrize(
    ("controls", "text", "rest", "n_branches"),
    [([], 3.0, None, 3), ([], 1.0, None, 3), (["face"], 3.0, 4.0, 4), (["face"], 3.0, None, 3), ([], 0.0, None, 1)],
)
def test_a_negative_prompt_is_a_branch_more(
    controls: list[str], text: float, rest: float | None, n_branches: int
) -> None:
    branches = plan(controls, text, rest, {}, negative=True)
    assert len(branches) == n_branches
    assert [branch.says for branch in branches[-2:]] == (["negative", "nothing"] if text else ["nothing"])


def test_the_branch_with_most_comes_first_and_controls_of_one_scale_enter_together() -> None:
    """1 (nothing), 3 (text), 4 (face and motion): each branch weighs its scale less the next one's."""
    assert plan(["face", "motion"], 3.0, 4.0, {}) == [
        Branch("prompt", frozenset({"face", "motion"}), 4.0),
        Branch("prompt", frozenset(), 3.0 - 4.0),
        Branch("nothing", frozenset(), 1.0 - 3.0),
    ]
    assert plan(["face", "motion"], 3.0, 4.0, {"face": 3.0}) == [
        Branch("prompt", frozenset({"face", "motion"}), 4.0),
        Branch("prompt", frozenset({"face"}), 3.0 - 4.0),
        Branch("nothing", frozenset(), 1.0 - 3.0),
    ]
