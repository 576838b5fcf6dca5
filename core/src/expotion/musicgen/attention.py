"""Attention softmax(q k^T / sqrt(d/h)) v, by whatever computes it fastest here.

Everywhere this is torch's fused operator, except for training in bfloat16 on a CPU, where its backward pass is
the larger part of a step. There the same sums run clip by clip in blocks of rows that stay in the cache, as
plain matrix products (which have hardware of their own on recent CPUs), and causal blocks skip what they cannot
see. Scores are rounded to bfloat16 there, as in any eager bfloat16 attention. While music is made, heads of
many rows are divided among the process's threads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from expotion import machine

BLOCK_NUMBERS = 2**20
"""Attention weights of one block, all heads together: about 2 MiB in bfloat16, which a core's cache holds."""
MIN_ROWS = 64
KEEP_BYTES = 24 * 2**20
"""Attention weights up to this size are kept for the backward pass; larger ones are computed again."""


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """q [B, h, S, c], k and v [B, h, R, c] to [B, h, S, c]; causal needs S = R.

    `mask` bool, the same for every head, broadcast to [B, h, S, R]: which keys are seen.
    """
    in_blocks = (
        mask is None
        and q.dtype == torch.bfloat16
        and q.device.type == "cpu"
        and q.shape[2] >= MIN_ROWS
        and torch.is_grad_enabled()
        and (q.requires_grad or k.requires_grad or v.requires_grad)
    )
    if in_blocks:
        result: Tensor = _BlockAttention.apply(q, k, v, causal)
        return result

    def of_heads(first: int, end: int) -> Tensor:
        heads = slice(first, end)
        return functional.scaled_dot_product_attention(
            q[:, heads], k[:, heads], v[:, heads], attn_mask=mask, is_causal=causal
        )

    apart = q.device.type == "cpu" and q.shape[2] >= MIN_ROWS and not torch.is_grad_enabled()
    return machine.in_parts(of_heads, q.shape[1], dim=1) if apart else of_heads(0, q.shape[1])


def _blocks(heads: int, n_rows: int, n_keys: int, causal: bool) -> list[tuple[int, int, int]]:
    """(first row, end row, end of the keys it sees) of each block."""
    size = max(MIN_ROWS, BLOCK_NUMBERS // (heads * n_keys))
    if causal:
        size = min(size, max(MIN_ROWS, -(-n_rows // 2)))
    ends = [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]
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
        q, k, v = (q * width**-0.5).contiguous(), k.contiguous(), v.contiguous()
        blocks = _blocks(heads, n_rows, n_keys, causal)
        hidden = None
        if causal:
            size = blocks[0][1]
            hidden = q.new_full((size, size), float("-inf")).triu_(1)
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
        slope = upstream[0].contiguous()
        batch, _, _, width = q.shape
        wanted = ctx.needs_input_grad
        alone = len(ctx.blocks) == 1
        gradients = [torch.empty_like(tensor) if alone else torch.zeros_like(tensor) for tensor in (q, k, v)]
        grad_q, grad_k, grad_v = gradients
        kept = iter(ctx.kept)
        for clip in range(batch):
            for block in ctx.blocks:
                start, end, keys = block
                weights = next(kept) if ctx.kept else _weights(q[clip], k[clip], block, ctx.hidden)
                rows = slope[clip, :, start:end]
                if wanted[2]:
                    _add(grad_v[clip], weights.transpose(1, 2), rows, 0, keys, alone)
                if not (wanted[0] or wanted[1]):
                    continue
                scores = torch.bmm(rows, v[clip, :, :keys].transpose(1, 2))
                scores = torch._softmax_backward_data(scores, weights, -1, scores.dtype)
                if wanted[0]:
                    _add(grad_q[clip], scores, k[clip, :, :keys], start, end, alone)
                if wanted[1]:
                    _add(grad_k[clip], scores.transpose(1, 2), q[clip, :, start:end], 0, keys, alone)
        grad_q *= width**-0.5
        ctx.kept = []
        return (*(g if want else None for g, want in zip(gradients, wanted, strict=False)), None)


def _add(total: Tensor, left: Tensor, right: Tensor, start: int, end: int, alone: bool) -> None:
    """total[:, start:end] += left @ right; written in place where one block is all."""
    if alone:
        torch.bmm(left, right, out=total)
    else:
        total[:, start:end].baddbmm_(left, right)
