"""One layer of the MusicGen decoder, with the place where a gated prefix enters.

With hidden state x [B, S, d], LN of eps 1e-5, no biases outside the norms:

    q, k, v = heads(W_qkv LN1(x))                            fused, rows ordered q, k, v; h heads of d / h
    S  = SDPA_causal(q, k, v)
    S' = SDPA(q + q^p[rows], k^p, v^p)                       every position sees every prefix row
    x <- x + W_out (S + g a[rows] S')                        g: the layer's gate, a: 0 or 1 per row
    x <- x + W_out' SDPA(W_q LNc(x), K_text, V_text)         keys and values of the text made once
    x <- x + W_2 GELU(W_1 LN2(x))                            exact GELU

Paper section 3.2 goes from S + g S' straight to cross-attention; the released code, and we, apply the shared
output projection, the residual and the cross norm in between. Without a prefix this is MusicGen's layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion.musicgen.geometry import LMGeometry

# Attention softmax(q k^T / sqrt(d/h)) v, by whatever computes it fastest here.
#
# Everywhere this is torch's fused operator, except for training in bfloat16 on a CPU, where its backward pass is
# the larger part of a step. There the same sums run clip by clip in blocks of rows that stay in the cache, as
# plain matrix products (which have hardware of their own on recent CPUs), and causal blocks skip what they cannot
# see. Scores are rounded to bfloat16 there, as in any eager bfloat16 attention.

BLOCK_NUMBERS = 2**20
"""Attention weights of one block, all heads together: about 2 MiB in bfloat16, which a core's cache holds."""
MIN_ROWS = 64
KEEP_BYTES = 24 * 2**20
"""Attention weights up to this size are kept for the backward pass; larger ones are computed again."""


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
    """q [B, h, S, c], k and v [B, h, R, c] to [B, h, S, c]; causal needs S = R.

    `mask` bool, broadcast to [B, h, S, R]: which keys are seen.
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
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


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


EPS = 1e-5


@dataclass(frozen=True)
class GateInput:
    """What one layer needs of the prefix.

    q [Bp, h, S, d/h] aligned with the positions at hand (or S = 1 to serve one of them); k, v [Bp, h, R, d/h];
    `gate` is a scalar or [Bp, 1, S, 1] where some rows are silent; `rows` says which rows of the batch have a
    prefix: a slice, an index tensor [Bp], or None for all; `mask` bool [Bp, 1, 1, R] which keys are seen (None:
    all).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    gate: Tensor
    rows: slice | Tensor | None
    mask: Tensor | None = None


def add_gated(attended: Tensor, query: Tensor, prefix: GateInput, *, in_place: bool = False) -> Tensor:
    """S + g a S' for the rows that have a prefix; the other rows come back untouched. [B, h, S, d/h].

    `in_place` allows `attended` to be overwritten (when no gradient is wanted and nobody else reads it).
    """
    rows = prefix.rows
    own = query if rows is None else query[rows]
    term = attend(own + prefix.q, prefix.k, prefix.v, mask=prefix.mask)
    term = term * prefix.gate
    if rows is None:
        return attended + term.to(attended.dtype)
    if in_place and isinstance(rows, slice):
        attended[rows] += term
        return attended
    if isinstance(rows, slice):
        inside = attended[rows] + term.to(attended.dtype)
        return torch.cat([attended[: rows.start], inside, attended[rows.stop :]])
    return attended.index_add(0, rows, term.to(attended.dtype))


class DecoderLayer(nn.Module):
    """Frozen weights of one layer and the two ways to run it: on a whole sequence, or step by step."""

    def __init__(self, geometry: LMGeometry) -> None:
        super().__init__()
        d = geometry.width
        self.n_heads = geometry.n_heads
        self.norm1 = nn.LayerNorm(d, EPS)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.norm_cross = nn.LayerNorm(d, EPS)
        self.cross_q = nn.Linear(d, d, bias=False)
        self.cross_kv = nn.Linear(d, 2 * d, bias=False)
        self.cross_out = nn.Linear(d, d, bias=False)
        self.norm2 = nn.LayerNorm(d, EPS)
        self.ffn_in = nn.Linear(d, geometry.ffn_width, bias=False)
        self.ffn_out = nn.Linear(geometry.ffn_width, d, bias=False)

    # The parts that the prefix stream of the adaptor shares with the language model.

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, h, S, d/h] of an already normed input [B, S, d]."""
        batch, length, width = x.shape
        fused = self.qkv(x).view(batch, length, 3, self.n_heads, width // self.n_heads)
        q, k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Self-attention of heads [B, h, S, d/h]."""
        return attend(q, k, v, causal=causal)

    def merge_heads(self, attended: Tensor) -> Tensor:
        """Output projection of attended heads [B, h, S, d/h]: [B, S, d]."""
        batch, _, length, _ = attended.shape
        projected: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, -1))
        return projected

    def feed_forward(self, x: Tensor) -> Tensor:
        """W_2 GELU(W_1 LN2(x)), without the residual: [B, S, d]."""
        result: Tensor = self.ffn_out(functional.gelu(self.ffn_in(self.norm2(x))))
        return result

    # The language model's own parts.

    def text_keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention keys and values [B, h, L, d/h] of a text source [B, L, d], which is not normed."""
        batch, length, width = source.shape
        fused = self.cross_kv(source).view(batch, length, 2, self.n_heads, width // self.n_heads)
        k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
        return k, v

    def cross(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The cross-attention branch, without the residual. `mask` bool [B, 1, 1, L] or None: [B, S, d]."""
        batch, length, width = x.shape
        q = self.cross_q(self.norm_cross(x)).view(batch, length, self.n_heads, width // self.n_heads)
        attended = functional.scaled_dot_product_attention(q.transpose(1, 2), k, v, attn_mask=mask)
        projected: Tensor = self.cross_out(attended.transpose(1, 2).reshape(batch, length, width))
        return projected

    def forward(
        self,
        x: Tensor,
        text: tuple[Tensor, Tensor],
        text_mask: Tensor | None = None,
        prefix: GateInput | None = None,
    ) -> Tensor:
        """The whole sequence at once: x [B, S, d] to [B, S, d]."""
        q, k, v = self.heads(self.norm1(x))
        attended = self.attend(q, k, v, causal=x.shape[1] > 1)
        if prefix is not None:
            attended = add_gated(attended, q, prefix)
        x = x + self.merge_heads(attended)
        x = x + self.cross(x, *text, text_mask)
        return x + self.feed_forward(x)

    def step(
        self,
        x: Tensor,
        cache: tuple[Tensor, Tensor],
        position: int,
        text: tuple[Tensor, Tensor],
        text_mask: Tensor | None = None,
        prefix: GateInput | None = None,
    ) -> Tensor:
        """S more positions from `position` on, x [B, S, d], with keys and values kept in `cache`, in place.

        Several positions at once are possible only from position 0 (a prompt).
        """
        q, k, v = self.heads(self.norm1(x))
        end = position + x.shape[1]
        keys, values = cache
        keys[:, :, position:end] = k
        values[:, :, position:end] = v
        attended = functional.scaled_dot_product_attention(
            q, keys[:, :, :end], values[:, :, :end], is_causal=x.shape[1] > 1
        )
        if prefix is not None:
            attended = add_gated(attended, q, prefix, in_place=True)
        x = x + self.merge_heads(attended)
        x = x + self.cross(x, *text, text_mask)
        return x + self.feed_forward(x)
