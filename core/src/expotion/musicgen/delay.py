"""The delay pattern: how K parallel codebooks become one sequence of steps.

With delays D_k (`LMGeometry.delays`: 0, 1, 2, 3 for mono, 0, 0, 1, 1, .. for stereo) and T frames, frame f of
codebook k stands at step f + D_k + 1; step 0 and every cell without a frame hold the special token. The full layout
has T + max(D) + 1 steps (generation); training keeps the first T + 1, so codebook k loses its last D_k frames.
The output at step p predicts what stands at step p + 1: the prediction for frame f of codebook k is read at step
f + D_k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def build(codes: Tensor, special: int, delays: Sequence[int], *, valid_only: bool) -> Tensor:
    """Codes int64 [B, K, T] to the delayed sequence int64 [B, K, S].

    S = T + 1 for training (`valid_only`), T + max(D) + 1 for generation.
    """
    batch, n_codebooks, n_frames = codes.shape
    length = n_frames + 1 if valid_only else n_frames + max(delays) + 1
    sequence = torch.full((batch, n_codebooks, length), special, dtype=codes.dtype, device=codes.device)
    for k, delay in enumerate(delays):
        kept = min(n_frames, length - delay - 1)
        if kept > 0:
            sequence[:, k, delay + 1 : delay + 1 + kept] = codes[:, k, :kept]
    return sequence


def revert(sequence: Tensor, n_frames: int, special: int, delays: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Delayed sequence [B, K, S] back to codes [B, K, T]; `special` where the sequence is too short.

    Also returns where a frame was found, bool [K, T].
    """
    batch, n_codebooks, length = sequence.shape
    codes = torch.full((batch, n_codebooks, n_frames), special, dtype=sequence.dtype, device=sequence.device)
    mask = torch.zeros(n_codebooks, n_frames, dtype=torch.bool, device=sequence.device)
    for k, delay in enumerate(delays):
        kept = max(0, min(n_frames, length - delay - 1))
        codes[:, k, :kept] = sequence[:, k, delay + 1 : delay + 1 + kept]
        mask[k, :kept] = True
    return codes, mask


def revert_logits(logits: Tensor, n_frames: int, delays: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Logits [B, K, S, V] over steps to logits [B, K, T, V] over frames, NaN where no step predicts a frame.

    The prediction of frame f of codebook k is the output at step f + D_k. `logits` are the outputs for a
    sequence of S steps, the last of which predicts beyond it and is not used. Also returns bool [K, T].
    """
    batch, n_codebooks, length, card = logits.shape
    out = logits.new_full((batch, n_codebooks, n_frames, card), float("nan"))
    mask = torch.zeros(n_codebooks, n_frames, dtype=torch.bool, device=logits.device)
    for k, delay in enumerate(delays):
        kept = max(0, min(n_frames, length - 1 - delay))
        out[:, k, :kept] = logits[:, k, delay : delay + kept]
        mask[k, :kept] = True
    return out, mask


def target_mask(n_frames: int, delays: Sequence[int]) -> Tensor:
    """Which frames training scores: f + D_k < T, bool [K, T]."""
    return torch.arange(n_frames)[None, :] + torch.tensor(delays)[:, None] < n_frames
