"""From logits to tokens: guidance, greedy choice, temperature, top-k, top-p; one random generator per sample.

    p = softmax(logits / temperature)
    top-k: the k-th largest p is the threshold; what lies strictly below it becomes 0 (ties are kept)
    top-p, used instead when > 0: the smallest set of most probable codes whose mass reaches top_p
    renormalise, one draw per codebook

Each sample owns its generator, so it does not depend on its batch mates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from expotion.errors import ExpotionError


def guide(logits: Tensor, weights: Sequence[float]) -> Tensor:
    """One prediction from the branches of guidance: logits [n B, ...], branch after branch, and n weights of sum 1.

        sum_j w_j l_j, computed as l_n + sum_{j<n} w_j (l_j - l_n)

    The last branch is the one that the others are pushed away from. Classifier-free guidance of scale s has the
    weights (s, 1 - s): null + s (conditional - null).
    """
    branches = logits.chunk(len(weights))
    last = branches[-1]
    total = last
    for weight, branch in zip(weights[:-1], branches[:-1], strict=True):
        total = total + weight * (branch - last)
    return total


def filter_top_k(probabilities: Tensor, k: int) -> Tensor:
    """Zero what lies strictly below the k-th largest of each row (ties kept) and renormalise. [..., V]."""
    threshold = probabilities.topk(min(k, probabilities.shape[-1]), dim=-1).values[..., -1:]
    kept = probabilities.where(probabilities >= threshold, 0.0)
    return kept / kept.sum(dim=-1, keepdim=True)


def filter_top_p(probabilities: Tensor, p: float) -> Tensor:
    """Keep the most probable codes until their mass exceeds p, the first one always. [..., V]."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = ordered.where(before <= p, 0.0)
    kept = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    return kept / kept.sum(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Sampler:
    """How a token is chosen. `top_p` > 0 takes the place of `top_k`; both 0 draw from the whole softmax."""

    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0

    def __post_init__(self) -> None:
        if not self.greedy and not self.temperature > 0:
            raise ExpotionError(f"temperature must be above 0, got {self.temperature}; use greedy for 0")
        if self.top_k < 0 or not 0 <= self.top_p <= 1:
            raise ExpotionError(
                f"top_k must be at least 0 and top_p within 0..1, got top_k {self.top_k}, top_p {self.top_p}"
            )

    def __call__(self, logits: Tensor, generators: Sequence[torch.Generator] = ()) -> Tensor:
        """Logits [B, K, V] to tokens int64 [B, K]; `generators` has one per sample (unused when greedy)."""
        if self.greedy:
            return logits.argmax(dim=-1)
        if len(generators) != logits.shape[0]:
            raise ExpotionError(f"{logits.shape[0]} samples need as many generators, got {len(generators)}")
        probabilities = torch.softmax(logits.float() / self.temperature, dim=-1)
        if self.top_p > 0:
            probabilities = filter_top_p(probabilities, self.top_p)
        elif self.top_k > 0:
            probabilities = filter_top_k(probabilities, self.top_k)
        drawn = [
            torch.multinomial(probabilities[index], 1, generator=generator)
            for index, generator in enumerate(generators)
        ]
        return torch.stack(drawn).squeeze(-1)
