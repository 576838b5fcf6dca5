"""MusicGen's language model: delayed tokens in, logits over the codes of each codebook out.

    x_0 = sum_k emb_k[token_k] + position          (no scaling; positions count from 0 at the first step)
    x_{l+1} = layer_l(x_l, text, prefix_l)         (expotion.musicgen.layer; the prefix from layer s on)
    logits_k = W_k LN(x_N)

The K embedding tables and the K heads are each stored as one matrix, so that each is one operation. This is the
whole sequence at once (teacher forcing), which training and measuring use; generation runs step by step on an
engine made from it (expotion.musicgen.engine). Its weights never need a gradient; below the first adapted layer
nothing depends on a trainable tensor, so no graph is built there.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from expotion.musicgen.gate import Prefix, gate_input, row_selection
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.layer import EPS, DecoderLayer
from expotion.musicgen.melody import in_front, null_front


def sinusoid(start: int, n: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Positions start..start+n-1 of MusicGen's table: [n, width] in `dtype`, computed in float32.

    Row p holds cos(p w_j) for all j, then sin(p w_j): w_j = 10000^(-j / (m - 1)) for j = 0..m-1 with m = width / 2;
    the denominator is m - 1, not m.

    For float16 the exponents j / (m - 1) are rounded to half precision first, as audiocraft does with half
    weights; its table therefore differs slightly from the float32 one.
    """
    half = width // 2
    exponent = torch.arange(half, dtype=torch.float32) / max(half - 1, 1)
    if dtype == torch.float16:
        exponent = exponent.half().float()
    position = torch.arange(start, start + n, dtype=torch.float32)
    phase = position[:, None] / 10000.0 ** exponent[None, :]  # (n, d/2)
    return torch.cat([phase.cos(), phase.sin()], dim=1).to(dtype)


class MusicGenLM(nn.Module):
    """The language model. Build it empty, then load weights with `expotion.musicgen.load`."""

    def __init__(self, geometry: LMGeometry) -> None:
        super().__init__()
        self.geometry = geometry
        d, k = geometry.width, geometry.n_codebooks
        self.embedding = nn.Embedding(k * (geometry.card + 1), d)
        self.layers = nn.ModuleList(DecoderLayer(geometry) for _ in range(geometry.n_layers))
        self.norm_out = nn.LayerNorm(d, EPS)
        self.output_heads = nn.Linear(d, k * geometry.card, bias=False)
        self.text_projection = nn.Linear(geometry.text_width, d) if geometry.text_width is not None else None
        self.chroma_projection = None if geometry.chroma is None else nn.Linear(geometry.chroma.width, d)
        self.requires_grad_(False)
        self.eval()

    def block(self, index: int) -> DecoderLayer:
        """Layer `index`, 0-based."""
        return cast(DecoderLayer, self.layers[index])

    @property
    def n_layers(self) -> int:
        """Number of layers N."""
        return self.geometry.n_layers

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.output_heads.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output_heads.weight.device

    def position_table(self, start: int, n: int) -> Tensor:
        """Positions start..start+n-1 in the weights' type, [n, d]."""
        return sinusoid(start, n, self.geometry.width, self.dtype).to(self.device)

    def embed(self, sequence: Tensor) -> Tensor:
        """Sum over codebooks of the tokens' embeddings: [B, K, S] to [B, S, d], without positions."""
        k, card = self.geometry.n_codebooks, self.geometry.card
        offset = torch.arange(k, device=sequence.device)[None, :, None] * (card + 1)
        rows = self.embedding((sequence + offset).transpose(1, 2))  # (B, S, K, d)
        total: Tensor = rows[:, :, 0]
        for codebook in range(1, k):
            total = total + rows[:, :, codebook]
        return total

    def project_text(self, hidden: Tensor, mask: Tensor, melody: Tensor | None = None) -> Tensor:
        """Text encoder output [B, L, text_width] and mask [B, L] to the cross-attention source [B, L, d].

        linear (with bias), then times the mask: padded and null rows are exactly zero, the bias included. Of a
        melody model: what stands in front of the music (`melody.in_front`).
        """
        source = hidden.to(self.dtype)
        if self.text_projection is not None:
            source = self.text_projection(source)
        source = source * mask.to(source.dtype)[:, :, None]
        if self.chroma_projection is None:
            return source
        return in_front(self.geometry, self.chroma_projection, source, melody)

    def null_text(self, source: Tensor) -> Tensor:
        """The source of guidance's null branch, of the shape of `source`."""
        if self.chroma_projection is None:
            return torch.zeros_like(source)
        return null_front(self.geometry, self.chroma_projection, source)

    def logits(self, hidden: Tensor) -> Tensor:
        """Heads on normed hidden states [B, S, d]: [B, K, S, V]."""
        batch, length, _ = hidden.shape
        flat = self.output_heads(hidden).view(batch, length, self.geometry.n_codebooks, self.geometry.card)
        result: Tensor = flat.transpose(1, 2)
        return result

    def hidden(
        self,
        sequence: Tensor,
        source: Tensor,
        prefix: Prefix | None = None,
        *,
        source_mask: Tensor | None = None,
        recompute: bool = False,
        start: int = 0,
    ) -> Tensor:
        """Hidden states after the last norm, [B, S, d], of delayed tokens [B, K, S] and a text source [B, L, d].

        `source_mask` bool [B, L] hides padded text; None attends to it, as audiocraft does (padded keys are
        zero, so each adds exp(0) to the softmax's denominator). `recompute` keeps only each layer's input for the
        backward pass and computes the rest again there. `start` is the position of the first token.
        """
        length = sequence.shape[2]
        x = self.embed(sequence)
        source = source.to(x.dtype)
        front = 0
        if self.geometry.chroma is not None:
            front = source.shape[1]
            x = torch.cat([source, x], dim=1)
        x = x + torch.cat([self.position_table(0, front), self.position_table(front + start, length)])
        mask = None if source_mask is None else source_mask[:, None, None, :]
        rows = None if prefix is None else row_selection(prefix.rows)
        for index in range(self.n_layers):
            adapted = prefix is not None and index >= prefix.first_layer

            def run(x: Tensor, index: int = index, adapted: bool = adapted) -> Tensor:
                layer, gate = self.block(index), None
                if prefix is not None and adapted:
                    gate = gate_input(prefix, index - prefix.first_layer, length, rows)
                text = None if front else layer.text_keys(source)
                result: Tensor = layer(x, text, mask, gate, front)
                return result

            if recompute and adapted and torch.is_grad_enabled():
                x = checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = run(x)
        normed: Tensor = self.norm_out(x[:, front:])
        return normed

    def forward(
        self, sequence: Tensor, source: Tensor, prefix: Prefix | None = None, *, source_mask: Tensor | None = None
    ) -> Tensor:
        """Logits [B, K, S, V] of delayed tokens [B, K, S]."""
        return self.logits(self.hidden(sequence, source, prefix, source_mask=source_mask))
