"""Cross-attention as a step runs it, for a text that stays the same for the whole clip.

    y = W_out [softmax(q_h k_h^T / sqrt(c)) v_h]_h      q = W_q LN(x), k and v of the text
      = U softmax_h(G LN(x))      with G_h = k_h W_q,h / sqrt(c) [L, d] and U_h = W_out,h v_h^T [d, L]

For rows of one text of L < c tokens (c = d / h is the head's width), G and U hold fewer numbers than W_q and
W_out, so they are made once and read instead. Otherwise keys and values are made once and the weights are read.
A row whose source is zero (the null text) has zero keys and values: its branch is exactly zero and is not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from expotion.musicgen.engine.layer import EngineLayer
from expotion.musicgen.engine.weights import PlainLinear
from expotion.musicgen.gate import Rows, row_selection


@dataclass(frozen=True)
class SpokenText:
    """Rows of a batch that have a text, their sources [Bt, L, d] and masks [Bt, L]; where all these rows have the
    same text, its tokens [L', d] that count."""

    rows: Tensor
    source: Tensor
    mask: Tensor | None
    tokens: Tensor | None


def spoken_text(source: Tensor, source_mask: Tensor | None) -> SpokenText:
    """What counts of sources [B, L, d] and masks bool [B, L]; a source of zeros is no text."""
    rows = source.ne(0).flatten(1).any(dim=1).nonzero()[:, 0]
    own = source[rows]
    mask = None if source_mask is None else source_mask.to(source.device)[rows]
    tokens = None
    # branches of guidance repeat one clip's text: its rows share what is made of it
    if len(rows) and bool((own == own[:1]).all()) and (mask is None or bool((mask == mask[:1]).all())):
        if mask is None:
            tokens = own[0]
        elif bool(mask[0].any()):
            tokens = own[0, mask[0]]
    return SpokenText(rows, own, mask, tokens)


def fold_text(layer: EngineLayer, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """G [h L, d] and U [d, h L] in float32, of k and v [h, L, c]: only the tokens that count."""
    heads, length, width = k.shape
    query = layer.cross_q_weight.float().view(heads, width, -1)
    out = layer.cross_out_weight.float().view(-1, heads, width)
    scores = torch.einsum("hlc,hcd->hld", k.float() * width**-0.5, query).reshape(heads * length, -1)
    values = torch.einsum("hlc,dhc->dhl", v.float(), out).reshape(-1, heads * length)
    return scores, values


class FoldedText:
    """U softmax_h(G x) for rows of one text."""

    def __init__(self, layer: EngineLayer, k: Tensor, v: Tensor, dtype: torch.dtype) -> None:
        """k, v [h, L, c]: only the tokens that count. `dtype`: of G and U."""
        scores, values = fold_text(layer, k, v)
        self.heads = len(k)
        self.scores = PlainLinear(scores.to(dtype))
        self.values = PlainLinear(values.to(dtype))

    def add_to(self, x: Tensor, normed: Tensor) -> None:
        """x [Bt, S, d] += the branch of normed [Bt, S, d], in place."""
        scores = self.scores(normed)
        weights = torch.softmax(scores.view(*scores.shape[:-1], self.heads, -1), dim=-1)
        self.values.add_to(x, weights.view(scores.shape))

    def tensors(self) -> list[Tensor]:
        """G and U."""
        return [self.scores.packed, self.values.packed]


class KeyedText:
    """W_out SDPA(W_q x, k, v) for any number of rows."""

    def __init__(self, layer: EngineLayer, k: Tensor, v: Tensor, mask: Tensor | None) -> None:
        """k, v [Bt, h, L, c]; mask bool [Bt, 1, 1, L] or None."""
        self.layer, self.k, self.v, self.mask = layer, k.contiguous(), v.contiguous(), mask

    def add_to(self, x: Tensor, normed: Tensor) -> None:
        """x [Bt, S, d] += the branch of normed [Bt, S, d], in place."""
        batch, length, _ = normed.shape
        q = self.layer.cross_q(normed).to(self.k.dtype).view(batch, length, self.k.shape[1], -1)
        attended = functional.scaled_dot_product_attention(q.transpose(1, 2), self.k, self.v, self.mask)
        self.layer.cross_out.add_to(x, attended.transpose(1, 2).reshape(batch, length, -1))

    def tensors(self) -> list[Tensor]:
        """Keys, values, mask."""
        return [self.k, self.v, *([] if self.mask is None else [self.mask])]


class TextState:
    """The text of a batch: one branch per layer, and the rows that have a text."""

    def __init__(
        self, layers: Sequence[EngineLayer], source: Tensor, source_mask: Tensor | None, dtype: torch.dtype
    ) -> None:
        """source [B, L, d]; source_mask bool [B, L] or None; `dtype` is the type of attention."""
        self.branches: list[FoldedText | KeyedText] = []
        text = spoken_text(source, source_mask)
        self.rows: Rows = None if len(text.rows) == len(source) else row_selection(text.rows)
        if len(text.rows) == 0:
            return
        folded = text.tokens is not None and len(text.tokens) < layers[0].head_width
        own = text.source if text.tokens is None else text.tokens.expand(len(text.rows), -1, -1)
        mask = text.mask if text.tokens is None else None
        folded_type = torch.float32 if source.device.type == "cpu" else dtype
        hidden = None if mask is None else mask[:, None, None, :]
        for layer in layers:
            k, v = layer.text_keys(own)
            if folded:
                self.branches.append(FoldedText(layer, k[0], v[0], folded_type))
            else:
                self.branches.append(KeyedText(layer, k.to(dtype), v.to(dtype), hidden))

    def tensors(self) -> list[Tensor]:
        """What a step reads."""
        return [tensor for branch in self.branches for tensor in branch.tensors()]

    def add_to(self, x: Tensor, layer: EngineLayer, index: int) -> None:
        """x [B, S, d] += the branch of layer `index`, in place."""
        if not self.branches:
            return
        own = x if self.rows is None else x[self.rows]
        self.branches[index].add_to(own, layer.norm_cross(own))
        if isinstance(self.rows, Tensor):  # then `own` is a copy
            x[self.rows] = own
