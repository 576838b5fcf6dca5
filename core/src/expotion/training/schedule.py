"""Learning rate over steps: linear warm-up, then cosine."""

from __future__ import annotations

import math


def warmup_cosine(step: int, n_steps: int, warmup_steps: int, floor: float = 0.0) -> float:
    """Factor in 0..1 for step 0..n_steps-1.

    During warm-up (step + 1) / (warmup + 1), so that no step is wasted on a rate of zero; then
    floor + (1 - floor) (1 + cos(pi p)) / 2 with p the fraction of the remaining steps that is done.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1, n_steps - warmup_steps)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
