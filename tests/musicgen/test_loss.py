from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from expotion.errors import ExpotionError
from expotion.musicgen import delay
from expotion.train import objective as loss


def literal(lm, hidden, codes, mask):
    logits, scored = delay.revert_logits(lm.logits(hidden), codes.shape[2])
    scored = scored.expand(codes.shape) & mask
    return functional.cross_entropy(logits[scored], codes[scored])


@pytest.mark.parametrize("chunk", [7, 4096])
def test_value_and_gradient_are_those_of_the_plain_form(small_lm, monkeypatch, chunk):
    monkeypatch.setattr(loss, "CHUNK_ROWS", chunk)
    torch.manual_seed(0)
    codes = torch.randint(0, 20, (3, 4, 11))
    mask = torch.rand(3, 4, 11) > 0.3
    hidden = torch.randn(3, 12, 32, requires_grad=True)
    fused = loss.codebook_loss(small_lm, hidden, codes, mask)
    plain = literal(small_lm, hidden, codes, mask)
    assert (fused - plain).abs() < 1e-5
    ours, theirs = (torch.autograd.grad(value * 2.5, hidden)[0] for value in (fused, plain))
    assert (ours - theirs).abs().max() / theirs.abs().max() < 1e-5


def test_masks_of_three_shapes_mean_the_same(small_lm):
    codes = torch.randint(0, 20, (2, 4, 9))
    hidden = torch.randn(2, 10, 32)
    frames = torch.rand(2, 9) > 0.4
    by_frame = loss.codebook_loss(small_lm, hidden, codes, frames)
    by_cell = loss.codebook_loss(small_lm, hidden, codes, frames[:, None].expand(-1, 4, -1))
    assert torch.equal(by_frame, by_cell)
    assert torch.equal(
        loss.codebook_loss(small_lm, hidden, codes),
        loss.codebook_loss(small_lm, hidden, codes, torch.ones(4, 9, dtype=torch.bool)),
    )


def test_masked_codes_do_not_matter(small_lm):
    codes = torch.randint(0, 20, (2, 4, 9))
    hidden = torch.randn(2, 10, 32)
    mask = torch.ones(2, 4, 9, dtype=torch.bool)
    mask[:, :, :4] = False
    before = loss.codebook_loss(small_lm, hidden, codes, mask)
    codes[:, :, :4] = 0
    assert torch.equal(loss.codebook_loss(small_lm, hidden, codes, mask), before)


def test_figures_by_codebook_average_to_the_loss(small_lm):
    codes = torch.randint(0, 20, (2, 4, 9))
    hidden = torch.randn(2, 10, 32)
    parts = loss.per_codebook_loss(small_lm, hidden, codes)
    weights = torch.tensor([9.0, 8.0, 7.0, 6.0])
    assert (
        (parts * weights).sum() / weights.sum() - loss.codebook_loss(small_lm, hidden, codes)
    ).abs() < 1e-5


def test_nothing_scored_is_zero_not_nan(small_lm):
    empty = torch.zeros(4, 9, dtype=torch.bool)
    hidden = torch.randn(1, 10, 32, requires_grad=True)
    value = loss.codebook_loss(small_lm, hidden, torch.zeros(1, 4, 9, dtype=torch.int64), empty)
    assert value.item() == 0.0


def test_refuses_a_mask_of_another_length(small_lm):
    with pytest.raises(ExpotionError, match="mask"):
        loss.codebook_loss(
            small_lm,
            torch.randn(1, 10, 32),
            torch.zeros(1, 4, 9, dtype=torch.int64),
            torch.ones(4, 8, dtype=torch.bool),
        )
