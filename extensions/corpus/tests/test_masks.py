"""Short clips carry a mask: what fills a batch after their end never reaches the loss."""

from __future__ import annotations

import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry
from expotion.recipe.schema import ContextSwap, LearningRate, Train
from expotion.train.examples import Examples
from expotion.train.loop import Loop, SteeredMusic

N, K, T, CARD = 3, 4, 20, 8
N_FRAMES = torch.tensor([20, 12, 7])


def loss_of(filler: int, *, n_frames: torch.Tensor = N_FRAMES, swap: float = 0.0) -> float:
    """Loss of the first step over clips of unequal lengths, their ends filled with a code."""
    torch.manual_seed(0)
    lm = MusicGenLM(
        LMGeometry(width=16, n_layers=2, n_heads=2, ffn_width=16, n_codebooks=K, card=CARD, text_width=6)
    )
    for parameter in lm.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    adaptor = Adaptor(
        AdaptorConfig((Modality("face", d_in=3, rank=2),), width=16, n_lm_layers=2, n_adapted=2), seed=1
    )
    codes = torch.randint(0, CARD, (N, K, T))
    beyond = torch.arange(T)[None] >= N_FRAMES[:, None]
    codes = torch.where(beyond[:, None], torch.tensor(filler), codes)
    examples = Examples(
        codes=codes,
        n_frames=n_frames,
        text=torch.randn(N, 3, 6),
        text_mask=torch.ones(N, 3, dtype=torch.bool),
        controls={"face": torch.randn(N, T + 1, 3)},
        valid={"face": torch.ones(N, T + 1, dtype=torch.bool)},
    )
    settings = Train(
        steps=1,
        batch_size=N,
        learning_rate=LearningRate(project=1e-2, gates=1e-1, other=1e-3),
        warmup_steps=0,
        weight_decay=0.0,
        clip_norm=1.0,
        context_swap=ContextSwap(prob=swap, min_frames=3, max_frames=10),
        condition_dropout={},
        text_dropout=0.0,
    )
    return float(Loop(SteeredMusic(lm, adaptor, examples, settings, 3), settings).step()["loss"])


def test_codes_after_the_end_of_a_clip_do_not_count() -> None:
    assert len({loss_of(filler) for filler in (0, 3, 7)}) == 1


def test_nor_do_they_enter_the_history_of_other_clips() -> None:
    assert len({loss_of(filler, swap=1.0) for filler in (0, 3, 7)}) == 1


def test_they_would_count_without_the_mask() -> None:
    every = torch.full((N,), T)
    assert abs(loss_of(0, n_frames=every) - loss_of(7, n_frames=every)) > 1e-3


def test_clips_that_the_data_keeps_for_validation_are_not_trained_on() -> None:
    from expotion.recipe.schema import Train
    from expotion.run.training import split_validation

    examples = Examples(
        codes=torch.arange(20)[:, None, None].expand(20, 2, 4),
        n_frames=torch.full((20,), 4),
        text=torch.zeros(20, 1, 2),
        text_mask=torch.ones(20, 1, dtype=torch.bool),
        controls={},
        valid={},
    )

    def parts(at_most: int, n_given: int) -> list[list[int]]:
        split = split_validation(examples, Train(validation_clips=at_most), n_given)
        return [[] if part is None else part.codes[:, 0, 0].tolist() for part in split]

    assert parts(16, 5) == [list(range(15)), list(range(15, 20))]
    assert parts(3, 5) == [list(range(15)), [15, 16, 17]]  # the others are not trained on either
    assert parts(16, 1) == [list(range(19)), []]
    assert parts(16, 0) == [list(range(18)), [18, 19]]
    assert parts(16, 20)[0] == []
