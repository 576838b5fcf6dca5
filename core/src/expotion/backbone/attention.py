"""Attention softmax(q k^T / sqrt(d/h)) v, by whatever computes it fastest here.

Everywhere this is torch's fused operator, except for training in bfloat16 on a CPU, where its backward pass is
the larger part of a step. There the same sums run clip by clip in blocks of rows that stay in the cache, as
plain matrix products (which have hardware of their own on recent CPUs), and causal blocks skip what they cannot
see. Scores are rounded to bfloat16 there, as in any eager bfloat16 attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_ROWS = 256
MIN_ROWS = 64
KEEP_BYTES = 24 * 2**20
"""Attention weights up to this size are kept for the backward pass; larger ones are computed again."""


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """q [B, h, S, c], k and v [B, h, R, c] to [B, h, S, c]; causal needs S = R."""
    in_blocks = (
        q.dtype == torch.bfloat16
        and q.device.type == "cpu"
        and q.shape[2] >= MIN_ROWS
        and torch.is_grad_enabled()
        and (q.requires_grad or k.requires_grad or v.requires_grad)
    )
    if in_blocks:
        result: Tensor = _BlockAttention.apply(q, k, v, causal)
        return result
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _blocks(n_rows: int, n_keys: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first row, end row, end of the keys it sees) of each block."""
    ends = [(start, min(start + BLOCK_ROWS, n_rows)) for start in range(0, n_rows, BLOCK_ROWS)]
    return [(start, end, end if causal else n_keys) for start, end in ends]


def _weights(q: Tensor, k: Tensor, block: tuple[int, int, int], hidden: Tensor | None) -> Tensor:
    """Attention weights of one block of one clip, [h, rows, keys]; q already scaled."""
    start, end, keys = block
    scores = torch.bmm(q[:, start:end], k[:, :keys].transpose(1, 2))
    if hidden is not None:
        scores[:, :, start:end] += hidden[: end - start, : end - start]
    return torch.softmax(scores, dim=-1)


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        batch, heads, n_rows, width = q.shape
        n_keys = k.shape[2]
        q = q * width**-0.5
        hidden = None
        if causal:
            size = min(BLOCK_ROWS, n_rows)
            hidden = q.new_full((size, size), float("-inf")).triu_(1)
        blocks = _blocks(n_rows, n_keys, causal)
        keep = batch * heads * n_rows * n_keys * q.element_size() <= KEEP_BYTES
        kept: list[Tensor] = []
        # the memory order of the projection that follows, so that merging heads is free
        out = q.new_empty(batch, n_rows, heads, width).transpose(1, 2)
        for clip in range(batch):
            for block in blocks:
                start, end, keys = block
                weights = _weights(q[clip], k[clip], block, hidden)
                out[clip, :, start:end] = torch.bmm(weights, v[clip, :, :keys])
                if keep:
                    kept.append(weights)
        ctx.save_for_backward(q, k, v)
        ctx.hidden, ctx.blocks, ctx.kept = hidden, blocks, kept
        return out

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        slope = upstream[0]
        batch, _, _, width = q.shape
        need_q, need_k, need_v, _ = ctx.needs_input_grad
        grad_q = torch.empty_like(q) if need_q else None
        grad_k = torch.zeros_like(k) if need_k else None
        grad_v = torch.zeros_like(v) if need_v else None
        kept = iter(ctx.kept)
        for clip in range(batch):
            for block in ctx.blocks:
                start, end, keys = block
                weights = next(kept) if ctx.kept else _weights(q[clip], k[clip], block, ctx.hidden)
                rows = slope[clip, :, start:end]
                if grad_v is not None:
                    grad_v[clip, :, :keys] += torch.bmm(weights.transpose(1, 2), rows)
                scores = torch.bmm(rows, v[clip, :, :keys].transpose(1, 2))
                scores = torch._softmax_backward_data(scores, weights, -1, scores.dtype)
                if grad_q is not None:
                    grad_q[clip, :, start:end] = torch.bmm(scores, k[clip, :, :keys])
                if grad_k is not None:
                    grad_k[clip, :, :keys] += torch.bmm(scores.transpose(1, 2), q[clip, :, start:end])
        if grad_q is not None:
            grad_q *= width**-0.5
        ctx.kept = []
        return grad_q, grad_k, grad_v, None
