"""A decoder layer's weights as the engine holds them: packed matrices, float32 norms.

It offers what the adaptor's prefix stream asks of a frozen layer, so that generation needs no second copy of the
weights.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from expotion.contracts import Mode
from expotion.musicgen.engine.weights import DTYPES, Linear, Norm, Pack, PlainLinear, pack, pack_normed
from expotion.musicgen.layer import DecoderLayer


class EngineLayer:
    """One layer. The residual stream is float32; each matrix takes what its mode takes."""

    def __init__(self, layer: DecoderLayer, mode: Mode, pack: Pack = pack) -> None:
        weight = layer.qkv.weight
        self.mode, self.pack = mode, pack
        self.n_heads = layer.n_heads
        self.head_width = weight.shape[1] // layer.n_heads
        plain = DTYPES.get(mode, torch.bfloat16 if weight.dtype == torch.float32 else weight.dtype)
        self.norm_self = Norm(layer.norm1)
        self.norm_ffn = Norm(layer.norm2)
        self.qkv: Linear = pack(weight, mode, head_out=self.head_width)
        self.out: Linear = pack(layer.out.weight, mode, head_in=self.head_width)
        self.ffn_in: Linear = pack(layer.ffn_in.weight, mode)
        self.ffn_out: Linear = pack(layer.ffn_out.weight, mode)
        self.normed_qkv = pack_normed(self.norm_self, self.qkv)
        self.normed_ffn_in = pack_normed(self.norm_ffn, self.ffn_in, gelu=True)
        if not hasattr(layer, "cross_q"):
            return  # a melody model's
        self.norm_cross = Norm(layer.norm_cross)
        # read once per clip, or folded into the text
        self.cross_q_weight = layer.cross_q.weight.detach().to(plain)
        self.cross_out_weight = layer.cross_out.weight.detach().to(plain)
        self.cross_kv: Linear = PlainLinear(layer.cross_kv.weight.detach().to(plain))

    @cached_property
    def cross_q(self) -> Linear:
        """W_q of cross-attention, packed when a text cannot be folded."""
        return self.pack(self.cross_q_weight, self.mode, head_out=self.head_width)

    @cached_property
    def cross_out(self) -> Linear:
        """W_out of cross-attention, likewise."""
        return self.pack(self.cross_out_weight, self.mode, head_in=self.head_width)

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The matrices that every step reads; the text's own come on top."""
        return self.qkv, self.out, self.ffn_in, self.ffn_out

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that every step reads."""
        return sum(linear.n_bytes for linear in self.linears)

    def add_ffn(self, x: Tensor) -> None:
        """x += W_2 GELU(W_1 LN2(x)), in place."""
        self.ffn_out.add_to(x, self.normed_ffn_in(x))

    def text_keys(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention keys and values [B, h, L, c] of a text source [B, L, d]."""
        batch, length, _ = source.shape
        fused = self.cross_kv(source).view(batch, length, 2, self.n_heads, self.head_width)
        k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
        return k, v

    # What the prefix stream asks for; its tensors keep the type they come in.

    def norm1(self, x: Tensor) -> Tensor:
        """LN1, [B, R, d]."""
        return self.norm_self(x).to(x.dtype)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, h, R, c] of a normed input."""
        batch, length, _ = x.shape
        fused = self.qkv(x).to(x.dtype).view(batch, length, 3, self.n_heads, self.head_width)
        q, k, v = fused.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def merge_heads(self, attended: Tensor) -> Tensor:
        """W_out of attended heads [B, h, R, c]: [B, R, d]."""
        batch, _, length, _ = attended.shape
        return self.out(attended.transpose(1, 2).reshape(batch, length, -1)).to(attended.dtype)

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward branch with its norm."""
        return self.ffn_out(self.normed_ffn_in(x)).to(x.dtype)
