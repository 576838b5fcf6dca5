"""One layer of the MusicGen decoder, with the place where a gated prefix enters.

With hidden state x [B, S, d], LN of eps 1e-5, no biases outside the norms:

    q, k, v = heads(W_qkv LN1(x))                            fused, rows ordered q, k, v; h heads of d / h
    S  = SDPA_causal(q, k, v)
    S' = SDPA(q + q^p[rows], k^p, v^p)                       every position sees every prefix row
    x <- x + W_out (S + g a[rows] S')                        g: the layer's gate, a: 0 or 1 per row
    x <- x + W_out' SDPA(W_q LNc(x), K_text, V_text)         keys and values of the text made once
    x <- x + W_2 GELU(W_1 LN2(x))                            exact GELU

Paper section 3.2 goes from S + g S' straight to cross-attention; the released code, and we, apply the shared
output projection, the residual and the cross norm in between. Without a prefix this is MusicGen's layer. In a
melody model the line of the text is missing (expotion.musicgen.melody).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion.musicgen.attention import attend
from expotion.musicgen.gate import GateInput, add_gated
from expotion.musicgen.geometry import LMGeometry

EPS = 1e-5


class DecoderLayer(nn.Module):
    """Frozen weights of one layer, run on a whole sequence; steps are an engine's (expotion.musicgen.engine)."""

    def __init__(self, geometry: LMGeometry) -> None:
        super().__init__()
        d = geometry.width
        self.n_heads = geometry.n_heads
        self.norm1 = nn.LayerNorm(d, EPS)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        if geometry.chroma is None:  # a melody model has its text in the sequence
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
        text: tuple[Tensor, Tensor] | None,
        text_mask: Tensor | None = None,
        prefix: GateInput | None = None,
        front: int = 0,
    ) -> Tensor:
        """The whole sequence at once: x [B, S, d] to [B, S, d].

        Without `text` (its keys and values) there is no cross-attention; the prefix enters behind `front` rows.
        """
        q, k, v = self.heads(self.norm1(x))
        attended = attend(q, k, v, causal=x.shape[1] > 1)
        if prefix is not None:
            steered = add_gated(attended[:, :, front:], q[:, :, front:], prefix)
            attended = torch.cat([attended[:, :, :front], steered], dim=2) if front else steered
        x = x + self.merge_heads(attended)
        if text is not None:
            x = x + self.cross(x, *text, text_mask)
        return x + self.feed_forward(x)
