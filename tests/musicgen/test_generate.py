from __future__ import annotations

import pytest
import torch

from expotion.errors import ExpotionError
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes


@pytest.fixture
def engine(small_lm):
    return Engine(small_lm, "fp32")


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_same_seed_same_codes_alone_or_in_a_batch(engine):
    source = torch.randn(1, 3, 32).expand(3, -1, -1)
    sampler = Sampler(top_k=5)
    together = generate_codes(engine, source, 7, sampler=sampler, generators=generators(1, 2, 1))
    alone = generate_codes(engine, source[:1], 7, sampler=sampler, generators=generators(2))
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1], alone[0])
    assert together.shape == (3, 4, 7) and int(together.min()) >= 0 and int(together.max()) < 20


def test_without_guidance_only_the_conditional_rows_run(engine):
    source = torch.randn(2, 3, 32)
    seen: list[torch.Tensor] = []
    codes = generate_codes(engine, source, 5, cfg_scale=1.0, sampler=Sampler(greedy=True), on_logits=seen.append)
    same = generate_codes(engine, source, 5, cfg_scale=1.0 + 1e-9, sampler=Sampler(greedy=True))
    assert torch.equal(codes, same)
    assert seen[0].shape == (2, 4, 20) and len(seen) == 5 + 3


def test_a_prompt_is_kept_and_progress_is_told(engine):
    prompt = torch.randint(0, 20, (1, 4, 3))
    told: list[tuple[int, int]] = []
    codes = generate_codes(
        engine,
        torch.randn(1, 3, 32),
        6,
        prompt=prompt,
        generators=generators(0),
        on_step=lambda done, total: told.append((done, total)),
    )
    assert torch.equal(codes[:, :, :3], prompt)
    assert told[0] == (4, 9) and told[-1] == (9, 9)


def test_a_prompt_that_leaves_nothing_is_an_error(engine):
    with pytest.raises(ExpotionError, match="prompt"):
        generate_codes(engine, torch.randn(1, 3, 32), 3, prompt=torch.zeros(1, 4, 3, dtype=torch.int64))
