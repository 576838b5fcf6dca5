"""What is random in a training step, drawn for all its clips at once, whoever computes them.

A draw is a pure function of (seed, step): a resumed run repeats it, and each of several workers makes the same
draw and takes its own rows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.musicgen import delay
from expotion.recipe import Recipe
from expotion.train.examples import Examples, batch_indices

# What makes the controls worth listening to: context swap and condition dropout.
#
# Under teacher forcing the true history already tells the beat and the level, so the adaptor has little to learn
# from the control. Where the history is another clip's, only the control knows what comes next. Stretches of a
# training sequence are therefore replaced by another clip's codes; their frames are not scored.


@dataclass(frozen=True)
class ContextSwap:
    """How the history is swapped. Lengths in frames.

    `prob`: share of sequences with foreign stretches. `min_frames..max_frames`: length of the first stretch,
    which starts the sequence. `more_prob`: share of the swapped sequences with further stretches, each
    `more_min_frames..more_max_frames` long with own stretches of the same range of lengths between them.
    """

    prob: float
    min_frames: int
    max_frames: int
    more_prob: float = 0.0
    more_min_frames: int = 25
    more_max_frames: int = 100


def foreign_frames(n_frames: int, swap: ContextSwap, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which frames of one sequence come from another clip, bool [n_frames]. At least a quarter stays its own."""
    foreign = np.zeros(n_frames, dtype=bool)
    if rng.random() >= swap.prob:
        return foreign
    most = max(1, (3 * n_frames) // 4)
    end = int(rng.integers(min(swap.min_frames, most), min(swap.max_frames, most) + 1))
    foreign[:end] = True
    if rng.random() < swap.more_prob:
        while True:
            start = end + int(rng.integers(swap.more_min_frames, swap.more_max_frames + 1))
            end = start + int(rng.integers(swap.more_min_frames, swap.more_max_frames + 1))
            if end >= n_frames or foreign.sum() + end - start > most:
                break
            foreign[start:end] = True
    return foreign


def draw_foreign(n: int, n_frames: int, swap: ContextSwap, rng: np.random.Generator) -> Tensor:
    """Which frames of n sequences come from other clips, bool [n, n_frames]."""
    return torch.from_numpy(np.stack([foreign_frames(n_frames, swap, rng) for _ in range(n)]))


def swap_context(codes: Tensor, donors: Tensor, foreign: Tensor) -> Tensor:
    """Codes [B, K, T] with the foreign frames [B, T] taken from `donors` [B, K, T]."""
    return torch.where(foreign[:, None, :], donors, codes)


def draw_strengths(
    names: Sequence[str], batch_size: int, dropout: dict[str, float], rng: np.random.Generator
) -> dict[str, Tensor]:
    """Strength 0 or 1 per modality and sequence, float32 [B]; never all of them dropped.

    A sequence without any modality is the frozen model itself, from which there is nothing to learn: where the
    draw drops all, one modality is kept, chosen evenly.
    """
    keep = np.stack([rng.random(batch_size) >= dropout.get(name, 0.0) for name in names])
    chosen = rng.integers(0, len(names), size=batch_size)
    for column in np.flatnonzero(~keep.any(axis=0)):
        keep[chosen[column], column] = True
    return {name: torch.from_numpy(keep[i].astype(np.float32)) for i, name in enumerate(names)}


# The numbers of a training run.


@dataclass(frozen=True)
class EarlyStopping:
    """End when the validation loss has not fallen by `min_improvement` (nats) for `patience_steps` steps."""

    patience_steps: int
    min_improvement: float = 0.0


@dataclass(frozen=True)
class TrainingSettings:
    """Numbers of the loop. Rates per step; `learning_rate` by parameter group (project, gates, other).

    A step sees batch_size * n_parts clips: `n_parts` batches, one after the other on one worker (gradients are
    added up) or shared out over several. The result is the same to float tolerance.
    """

    n_steps: int
    batch_size: int
    learning_rate: dict[str, float]
    warmup_steps: int
    weight_decay: float
    betas: tuple[float, float]
    clip_norm: float | None
    swap: ContextSwap
    condition_dropout: dict[str, float]
    text_dropout: float
    seed: int
    n_parts: int = 1
    final_ratio: float = 0.0
    constant: bool = False
    ema: float | None = None
    early_stopping: EarlyStopping | None = None
    recompute_activations: bool = False
    checkpoint_every_steps: int = 50
    validate_every_steps: int = 20

    @property
    def clips_per_step(self) -> int:
        """Clips of one optimisation step, over all parts."""
        return self.batch_size * self.n_parts


@dataclass(frozen=True)
class Draw:
    """G clips: indices, whose codes replace theirs where `foreign` [G, T], and what is dropped."""

    index: NDArray[np.int64]
    donors: NDArray[np.int64]
    foreign: Tensor
    keep: dict[str, Tensor]
    with_text: Tensor

    def part(self, number: int, size: int) -> Draw:
        """Rows number * size .. (number + 1) * size - 1."""
        rows = slice(number * size, (number + 1) * size)
        return Draw(
            self.index[rows],
            self.donors[rows],
            self.foreign[rows],
            {name: keep[rows] for name, keep in self.keep.items()},
            self.with_text[rows],
        )

    def scored(self, examples: Examples) -> Tensor:
        """Frames whose codes count: the clip's own and real, bool [G, T]."""
        real = torch.arange(self.foreign.shape[1])[None, :] < examples.n_frames[self.index][:, None]
        return real & ~self.foreign

    def n_scored(self, examples: Examples) -> int:
        """Number of codes that the loss is a mean over, all codebooks together."""
        n_codebooks, n_frames = examples.codes.shape[1:]
        pattern = delay.target_mask(n_frames, n_codebooks)
        return int((self.scored(examples)[:, None, :] & pattern).sum())


def draw_step(examples: Examples, names: list[str], settings: TrainingSettings, step: int) -> Draw:
    """The draw of one optimisation step."""
    n, size = len(examples), settings.clips_per_step
    rng = np.random.default_rng((settings.seed, 0, step))
    donors = rng.integers(0, n, size)
    foreign = draw_foreign(size, examples.codes.shape[-1], settings.swap, rng)
    return Draw(
        index=batch_indices(n, size, step, settings.seed),
        donors=donors,
        foreign=foreign,
        keep=draw_strengths(names, size, settings.condition_dropout, rng),
        with_text=torch.from_numpy(rng.random(size) >= settings.text_dropout),
    )


# The training loop's numbers, from a recipe.


def training_settings(recipe: Recipe) -> TrainingSettings:
    """The loop's numbers from the recipe's."""
    train = recipe.train
    rate, stopping = train.learning_rate, train.early_stopping
    return TrainingSettings(
        n_steps=train.steps,
        batch_size=train.batch_size,
        learning_rate={"project": rate.project, "gates": rate.gates, "other": rate.other},
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        betas=(train.betas[0], train.betas[1]),
        clip_norm=train.clip_norm,
        swap=ContextSwap(**train.context_swap.model_dump()),
        condition_dropout=recipe.condition_dropout(),
        text_dropout=train.text_dropout,
        seed=recipe.train_seed,
        final_ratio=train.final_learning_rate_ratio,
        constant=train.schedule == "constant",
        ema=train.ema,
        n_parts=train.accumulate * max(1, train.workers),
        early_stopping=None if stopping is None else EarlyStopping(**stopping.model_dump()),
        recompute_activations=train.recompute_activations,
        checkpoint_every_steps=train.checkpoint_every_steps,
        validate_every_steps=train.validate_every_steps,
    )
