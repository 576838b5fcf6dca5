"""What is random in a training step, drawn for all its clips at once, whoever computes them.

A draw is a pure function of (seed, step): a resumed run repeats it, and each of several workers makes the same
draw and takes its own rows from it.

Context swap and condition dropout are what makes the controls worth listening to. Under teacher forcing the true
history already tells the beat and the level, so the adaptor has little to learn from the control. Where the history
is another clip's, only the control knows what comes next. Stretches of a training sequence are therefore replaced
by another clip's codes; their frames are not scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.recipe.schema import ContextSwap, Train
from expotion.train.examples import Examples, batch_indices
from expotion.train.objective import count_scored


def foreign_frames(n_frames: int, swap: ContextSwap, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which frames of one sequence come from another clip, bool [n_frames]. At least a quarter stays its own.

    `swap.prob` of the sequences begin with a foreign stretch; `more_prob` of those have further ones, with own
    stretches of the same range of lengths between them.
    """
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


def draw_strengths(dropout: Mapping[str, float], batch_size: int, rng: np.random.Generator) -> dict[str, Tensor]:
    """Strength 0 or 1 per modality and sequence, float32 [B]; never all of them dropped.

    `dropout`: the probability of each modality. A sequence without any is the frozen model itself, from which
    there is nothing to learn: where the draw drops all, one modality is kept, chosen evenly.
    """
    keep = np.stack([rng.random(batch_size) >= probability for probability in dropout.values()])
    chosen = rng.integers(0, len(dropout), size=batch_size)
    for column in np.flatnonzero(~keep.any(axis=0)):
        keep[chosen[column], column] = True
    return {name: torch.from_numpy(keep[i].astype(np.float32)) for i, name in enumerate(dropout)}


@dataclass(frozen=True)
class Draw:
    """G clips: indices, whose codes replace theirs where `foreign` [G, T], and what is dropped.

    T frames of each clip are trained on, from frame `start` on.
    """

    index: NDArray[np.int64]
    donors: NDArray[np.int64]
    foreign: Tensor
    keep: dict[str, Tensor]
    with_text: Tensor
    start: int = 0

    def part(self, number: int, size: int) -> Draw:
        """Rows number * size .. (number + 1) * size - 1."""
        rows = slice(number * size, (number + 1) * size)
        return Draw(
            self.index[rows],
            self.donors[rows],
            self.foreign[rows],
            {name: keep[rows] for name, keep in self.keep.items()},
            self.with_text[rows],
            self.start,
        )

    def scored(self, examples: Examples) -> Tensor:
        """Frames whose codes count: the clip's own and real, bool [G, T]."""
        frames = torch.arange(self.start, self.start + self.foreign.shape[1])
        real = frames[None, :] < examples.n_frames[self.index][:, None]
        return real & ~self.foreign

    def n_scored(self, examples: Examples, delays: Sequence[int]) -> int:
        """Number of codes that the loss is a mean over, all codebooks together."""
        return count_scored(self.scored(examples), delays)


def draw_step(examples: Examples, names: Sequence[str], settings: Train, seed: int, step: int) -> Draw:
    """The draw of one optimisation step."""
    n, size = len(examples), settings.clips_per_step
    rng = np.random.default_rng((seed, 0, step))
    donors = rng.integers(0, n, size)
    n_frames = examples.codes.shape[-1]
    length = min(settings.stretch_frames or n_frames, n_frames)
    foreign = draw_foreign(size, length, settings.context_swap, rng)
    return Draw(
        index=batch_indices(n, size, step, seed),
        donors=donors,
        foreign=foreign,
        keep=draw_strengths({name: settings.dropout_of(name) for name in names}, size, rng),
        with_text=torch.from_numpy(rng.random(size) >= settings.text_dropout),
        start=int(rng.integers(0, n_frames - length + 1)) if length < n_frames else 0,
    )
