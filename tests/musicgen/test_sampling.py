from __future__ import annotations

import pytest
import torch

from expotion.errors import ExpotionError
from expotion.musicgen.generate import Sampler, filter_top_k, filter_top_p, guide


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_top_k_keeps_ties_and_renormalises():
    probabilities = torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1])
    kept = filter_top_k(probabilities, 2)
    assert torch.allclose(kept, torch.tensor([0.5, 0.25, 0.25, 0.0, 0.0]))
    assert torch.equal(filter_top_k(probabilities, 99), probabilities / probabilities.sum())


def test_top_p_keeps_the_first_and_stops_past_the_mass():
    probabilities = torch.tensor([0.1, 0.5, 0.3, 0.1])
    assert torch.allclose(filter_top_p(probabilities, 0.6), torch.tensor([0.0, 0.625, 0.375, 0.0]))
    assert filter_top_p(probabilities, 1e-9).tolist() == [0.0, 1.0, 0.0, 0.0]


def test_guidance_moves_from_null_to_conditional():
    logits = torch.tensor([[2.0], [1.0]])
    assert guide(logits, (3.0, -2.0)).tolist() == [[4.0]]
    assert guide(logits, (1.0, 0.0)).tolist() == [[2.0]]
    assert guide(logits, (0.0, 1.0)).tolist() == [[1.0]]


def test_greedy_takes_the_largest():
    logits = torch.randn(2, 4, 9)
    assert torch.equal(Sampler(greedy=True)(logits), logits.argmax(-1))
    assert torch.equal(Sampler(top_k=1)(logits, generators(0, 1)), logits.argmax(-1))


def test_a_sample_does_not_depend_on_its_batch_mates():
    logits = torch.randn(3, 4, 50)
    together = Sampler()(logits, generators(5, 6, 7))
    alone = Sampler()(logits[1:2], generators(6))
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize(("n_codes", "top_k"), [(256, 250), (2048, 250), (9, 0)])
def test_a_sample_is_what_torch_multinomial_draws(n_codes, top_k):
    logits = torch.randn(3, 4, n_codes, generator=torch.Generator().manual_seed(1))
    together, alone = generators(5, 6, 7), generators(5, 6, 7)
    kept = torch.softmax(logits, dim=-1)
    if top_k:
        least = kept.sort(dim=-1, descending=True).values[..., top_k - 1 : top_k]
        kept = kept.where(kept >= least, 0.0)
        kept = kept / kept.sum(dim=-1, keepdim=True)
    for _ in range(3):
        drawn = [torch.multinomial(row, 1, generator=own)[:, 0] for row, own in zip(kept, alone, strict=True)]
        assert torch.equal(Sampler(top_k=top_k)(logits, together), torch.stack(drawn))


def test_logits_that_are_no_numbers_are_refused():
    with pytest.raises(ExpotionError, match="not finite"):
        Sampler()(torch.full((1, 4, 9), float("nan")), generators(0))


def test_draws_follow_the_probabilities():
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).expand(1, 4, 3)
    generator = generators(0)
    drawn = torch.cat([Sampler(top_k=0)(logits, generator) for _ in range(500)])
    shares = torch.bincount(drawn.flatten(), minlength=3) / drawn.numel()
    assert (shares - torch.tensor([0.7, 0.2, 0.1])).abs().max() < 0.04


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 1.5}, {"temperature": float("nan")}]
)
def test_refuses_settings_without_meaning(wrong):
    with pytest.raises(ExpotionError):
        Sampler(**wrong)


def test_needs_a_generator_per_sample():
    with pytest.raises(ExpotionError, match="2 samples"):
        Sampler()(torch.randn(2, 4, 9), generators(0))
