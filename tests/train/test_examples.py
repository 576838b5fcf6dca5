"""Batches: every example equally often, and a pure function of the step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expotion.errors import ExpotionError
from expotion.train.examples import Examples, batch_indices


def make_examples(n: int = 5, n_frames: int = 7) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(
        codes=torch.randint(0, 8, (n, 4, n_frames), generator=generator),
        n_frames=torch.full((n,), n_frames),
        text=torch.randn(n, 3, 6, generator=generator),
        text_mask=torch.ones(n, 3, dtype=torch.bool),
        controls={"face": torch.randn(n, n_frames + 1, 2, generator=generator)},
        valid={"face": torch.ones(n, n_frames + 1, dtype=torch.bool)},
    )


def test_each_epoch_uses_every_example_once() -> None:
    stream = np.concatenate([batch_indices(7, 3, step, seed=1) for step in range(14)])
    for epoch in range(6):
        assert sorted(stream[epoch * 7 : epoch * 7 + 7]) == list(range(7))


def test_batches_are_a_function_of_step_and_seed() -> None:
    assert np.array_equal(batch_indices(9, 4, 5, seed=2), batch_indices(9, 4, 5, seed=2))
    different = [batch_indices(50, 8, 0, seed=s).tolist() for s in range(4)]
    assert len({tuple(d) for d in different}) == 4


def test_take_keeps_rows_together() -> None:
    examples = make_examples()
    taken = examples.take(np.array([3, 1]))
    assert torch.equal(taken.codes[0], examples.codes[3])
    assert torch.equal(taken.controls["face"][1], examples.controls["face"][1])


def test_nan_features_name_the_control_and_the_clip() -> None:
    examples = make_examples()
    examples.controls["face"][2, 0, 0] = float("nan")
    with pytest.raises(ExpotionError, match=r"control 'face'.*clips \[2\]"):
        examples.take(np.arange(5))


def test_rows_must_match_frames() -> None:
    good = make_examples()
    with pytest.raises(ExpotionError, match="rows to match the codes"):
        Examples(good.codes, good.n_frames, good.text, good.text_mask, {"face": torch.zeros(5, 7, 2)}, good.valid)
