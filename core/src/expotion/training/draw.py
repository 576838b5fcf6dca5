"""What is random in a training step, drawn for all its clips at once, whoever computes them.

A draw is a pure function of (seed, step): a resumed run repeats it, and each of several workers makes the same
draw and takes its own rows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.backbone import delay
from expotion.training.augment import draw_foreign, draw_strengths
from expotion.training.examples import Examples, batch_indices
from expotion.training.settings import TrainingSettings


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
