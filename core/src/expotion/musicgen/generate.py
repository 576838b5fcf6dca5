"""Generation: the loop over the delayed sequence, and how a step's logits become tokens.

The full layout has T + max(D) + 1 steps, hence T + max(D) calls of the model. Steps where a codebook has no
frame are forced to the special token and the prompt's cells are never overwritten. A prompt of P frames is fed
in one call with the start token: positions 0..P.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from expotion.errors import ExpotionError
from expotion.musicgen import delay
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix

# From logits to tokens: guidance, greedy choice, temperature, top-k, top-p.
#
#     p = softmax(logits / temperature)
#     top-k: the k-th largest p is the threshold; what lies strictly below it becomes 0 (ties are kept)
#     top-p, used instead when > 0: the smallest set of most probable codes whose mass reaches top_p
#     renormalise, one draw per codebook
#
# Each sample owns its generator, so it does not depend on its batch mates.


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
    n = probabilities.shape[-1]
    few = min(k, n)
    # the k-th largest is the (n - k + 1)-th smallest, whichever are fewer to look for
    many = few > n // 2
    threshold = probabilities.topk(n - few + 1 if many else few, dim=-1, largest=not many).values[..., -1:]
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
        if not bool(torch.isfinite(probabilities).all()):
            raise ExpotionError(
                "the model's logits are not finite numbers: its weights, or an adaptor's, are broken"
            )
        # as torch.multinomial draws one of each row, for all samples at once
        waits = torch.empty_like(probabilities)
        for row, generator in zip(waits, generators, strict=True):
            row.exponential_(1.0, generator=generator)
        return (probabilities / waits).argmax(dim=-1)


UNKNOWN = -1


@dataclass(frozen=True)
class Decoding:
    """One decoding in progress, of `total` steps; `sequence` [B, K, T + max D + 1] fills up."""

    sequence: Tensor
    delays: tuple[int, ...]
    special: int
    n_frames: int
    total: int

    def codes(self) -> Tensor:
        """The finished codes [B, K, T]."""
        return delay.revert(self.sequence, self.n_frames, self.special, self.delays)[0]

    def frames(self, start: int, stop: int) -> Tensor:
        """Codes [B, K, stop - start] of some finished frames."""
        return torch.stack(
            [self.sequence[:, k, start + d + 1 : stop + d + 1] for k, d in enumerate(self.delays)], dim=1
        )

    def finished(self, step: int) -> int:
        """How many frames are finished once step `step` has been drawn."""
        return max(0, min(self.n_frames, step - max(self.delays)))


def generate_codes(
    lm: Engine,
    source: Tensor,
    n_frames: int,
    *,
    cfg_scale: float = 3.0,
    source_mask: Tensor | None = None,
    on_step: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Tensor:
    """Codes int64 [B, K, n_frames], prompt included, for a text source [B, L, d] under classifier-free guidance.

    With cfg_scale 1 only the B conditional rows run. Otherwise the batch is [B conditional; B null], the null text
    being zeros of the same length (of a melody model, behind a silent melody), and a prefix speaks about that
    doubled batch. `on_step(done, total)` reports progress; `options` are `decode`'s.
    """
    weights = (1.0,) if cfg_scale == 1.0 else (cfg_scale, 1.0 - cfg_scale)
    if len(weights) > 1:
        source = source.to(lm.dtype)
        source = torch.cat([source, lm.null_text(source)])
        source_mask = None if source_mask is None else source_mask.repeat(2, 1)
    for decoding, step in decode(lm, source, n_frames, weights, source_mask=source_mask, **options):
        if on_step is not None:
            on_step(step, decoding.total)
    return decoding.codes()


@torch.no_grad()
def decode(
    lm: Engine,
    source: Tensor,
    n_frames: int,
    weights: Sequence[float],
    *,
    prefix: Prefix | None = None,
    sampler: Sampler | None = None,
    generators: Sequence[torch.Generator] = (),
    prompt: Tensor | None = None,
    source_mask: Tensor | None = None,
    lengths: Sequence[int] | None = None,
    on_logits: Callable[[Tensor], None] | None = None,
) -> Iterator[tuple[Decoding, int]]:
    """Draw step after step, yielding (the decoding, the step just drawn) each time.

    `source` [n B, L, d] holds a block of B rows for each of the n branches of guidance (see `guide`) and `prefix`
    speaks about all n B rows; `prompt` int64 [B, K, P]; `on_logits` sees each call's guided logits [B, K, V].
    `lengths`: where clips of one batch end, each at most n_frames; codes behind a clip's end are the special token.
    """
    sampler = sampler or Sampler()
    n_branches = len(weights)
    batch = source.shape[0] // n_branches
    prompt_frames = 0 if prompt is None else prompt.shape[2]
    if not 0 <= prompt_frames < n_frames:
        raise ExpotionError(f"a prompt of {prompt_frames} frames leaves none of {n_frames} to generate")

    special, n_codebooks = lm.geometry.special_token, lm.geometry.n_codebooks
    delays = lm.geometry.delays
    codes = torch.full((batch, n_codebooks, n_frames), UNKNOWN, dtype=torch.int64, device=lm.device)
    if prompt is not None:
        codes[:, :, :prompt_frames] = prompt
    for row, length in enumerate(lengths or ()):
        codes[row, :, length:] = special
    sequence = delay.build(codes, special, delays, valid_only=False)  # (B, K, T + max D + 1)
    total = sequence.shape[2] - 1
    decoding = Decoding(sequence, delays, special, n_frames, total)
    state = lm.start(source, total, prefix, source_mask=source_mask)

    fed = 0
    for step in range(prompt_frames + 1, total + 1):
        tokens = sequence[:, :, fed:step]
        logits = lm.step(tokens.repeat(n_branches, 1, 1), state)
        if n_branches > 1:
            logits = guide(logits, weights)
        if on_logits is not None:
            on_logits(logits)
        drawn = sampler(logits, generators)
        wanted = sequence[:, :, step]
        sequence[:, :, step] = torch.where(wanted == UNKNOWN, drawn, wanted)
        fed = step
        yield decoding, step
