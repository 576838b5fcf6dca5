"""Context swap and condition dropout."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion.recipe.schema import ContextSwap
from expotion.train.draw import draw_foreign, draw_strengths, foreign_frames, swap_context


def test_foreign_codes_come_from_the_donor_and_are_not_scored() -> None:
    codes, donors = torch.zeros(6, 4, 100, dtype=torch.long), torch.ones(6, 4, 100, dtype=torch.long)
    swap = ContextSwap(prob=1.0, min_frames=10, max_frames=40)
    scored = ~draw_foreign(6, 100, swap, np.random.default_rng(0))
    mixed = swap_context(codes, donors, ~scored)
    for row in range(6):
        n_foreign = int((~scored[row]).sum())
        assert 10 <= n_foreign <= 40
        assert bool(scored[row, n_foreign:].all())
        assert torch.equal(mixed[row, 0] == 1, ~scored[row])


def test_no_swap_leaves_everything() -> None:
    codes = torch.arange(20).view(1, 1, 20)
    foreign = draw_foreign(1, 20, ContextSwap(prob=0.0, min_frames=1, max_frames=5), np.random.default_rng(0))
    assert torch.equal(swap_context(codes, -codes, foreign), codes)
    assert not bool(foreign.any())


@settings(deadline=None)
@given(n_frames=st.integers(8, 600), seed=st.integers(0, 1000), low=st.integers(1, 50), more=st.floats(0.0, 1.0))
def test_a_quarter_always_stays_its_own(n_frames: int, seed: int, low: int, more: float) -> None:
    swap = ContextSwap(
        prob=1.0, min_frames=low, max_frames=400, more_prob=more, more_min_frames=5, more_max_frames=60
    )
    foreign = foreign_frames(n_frames, swap, np.random.default_rng(seed))
    assert foreign[0]
    assert foreign.sum() <= max(1, 3 * n_frames // 4)


def test_further_stretches_alternate() -> None:
    swap = ContextSwap(
        prob=1.0, min_frames=20, max_frames=20, more_prob=1.0, more_min_frames=10, more_max_frames=10
    )
    foreign = foreign_frames(100, swap, np.random.default_rng(0))
    edges = np.flatnonzero(np.diff(foreign.astype(int))) + 1
    assert edges.tolist() == [20, 30, 40, 50, 60, 70, 80]  # it ends with its own


def test_dropout_never_drops_everything() -> None:
    rng = np.random.default_rng(0)
    strengths = draw_strengths({"face": 0.9, "motion": 0.9}, 2000, rng)
    kept = strengths["face"] + strengths["motion"]
    assert bool((kept >= 1).all())
    assert 0.4 < float(strengths["face"].mean()) < 0.6


def test_dropout_has_the_rate_it_was_given() -> None:
    strengths = draw_strengths({"face": 0.25, "motion": 0.0}, 20_000, np.random.default_rng(1))
    assert abs(float(strengths["face"].mean()) - 0.75) < 0.02
    assert float(strengths["motion"].mean()) == 1.0


def test_a_quarter_of_a_sequence_stays_its_own() -> None:
    swap = ContextSwap(prob=1.0, min_frames=100, max_frames=100, more_prob=0.0)
    assert foreign_frames(100, swap, np.random.default_rng(0)).sum() == 75
