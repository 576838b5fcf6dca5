"""Causal self-attention in blocks of queries, for training on a CPU.

The library's kernel for the CPU spends most of a training step in its backward pass. Plain matrix products of a
block of queries with just the keys before its end do half the work of the full square, and in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "causal_blocks"
_BLOCK = 128


class CausalBlocks(torch.autograd.Function):
    """softmax(q k^T + causal mask) v, all [batch, heads, n, width]; q comes scaled."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # noqa: D102
        out, kept = torch.empty_like(query), []
        n = query.shape[2]
        for start in range(0, n, _BLOCK):
            end = min(start + _BLOCK, n)
            scores = query[:, :, start:end] @ key[:, :, :end].transpose(2, 3)
            later = torch.ones(end - start, end - start, dtype=torch.bool).triu(1)
            scores[..., start:].masked_fill_(later, -1e4)
            weights = torch.softmax(scores, dim=-1)
            out[:, :, start:end] = weights @ value[:, :, :end]
            kept.append(weights)
        ctx.save_for_backward(query, key, value, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: D102
        query, key, value, *kept = ctx.saved_tensors
        d_query = torch.empty_like(query)
        d_key, d_value = torch.zeros_like(key), torch.zeros_like(value)
        for i, weights in enumerate(kept):
            start, end = i * _BLOCK, i * _BLOCK + weights.shape[2]
            g = grad[:, :, start:end]
            d_value[:, :, :end] += weights.transpose(2, 3) @ g
            d_weights = g @ value[:, :, :end].transpose(2, 3)
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_query[:, :, start:end] = d_scores @ key[:, :, :end]
            d_key[:, :, :end] += d_scores.transpose(2, 3) @ query[:, :, start:end]
        return d_query, d_key, d_value


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [batch, heads, n, width], key and value [batch, heads, m, width] -> [batch, n, heads, width].

    Causal where n equals m and the module decodes itself; without mask and in full for cross-attention.
    """
    query = query * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if getattr(module, "is_causal", False) and key.shape[2] == query.shape[2]:
        return CausalBlocks.apply(query, key, value).transpose(1, 2), None
    weights = torch.softmax(query @ key.transpose(2, 3), dim=-1)
    return (weights.to(value.dtype) @ value).transpose(1, 2), None


def register() -> str:
    """Make it known to transformers; returns the name for ``attn_implementation``."""
    from transformers import AttentionInterface  # noqa: PLC0415

    AttentionInterface.register(NAME, attend)
    return NAME
