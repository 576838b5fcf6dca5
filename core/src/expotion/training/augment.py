"""What makes the controls worth listening to: context swap and condition dropout.

Under teacher forcing the true history already tells the beat and the level, so the adaptor has little to learn
from the control. Where the history is another clip's, only the control knows what comes next. Stretches of a
training sequence are therefore replaced by another clip's codes; their frames are not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
