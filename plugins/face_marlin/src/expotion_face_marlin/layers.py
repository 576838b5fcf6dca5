"""Attention, MLP and pre-norm block of MARLIN's ViT.

Attention has one fused qkv matrix without bias and separate `q_bias` and `v_bias`; the key bias is zero, as in
timm's BEiT attention. timm's MLP has other keys than the official files, which are loaded strictly, so the blocks
are ours.
Matrices may be kept in bfloat16 and packed for inference; what enters and leaves a norm stays float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expotion_face_marlin.products import Packed, pack


class Attention(nn.Module):
    """Multi-head self-attention, q scaled by head_dim^-0.5, effective bias [q_bias, 0, v_bias]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.packed: tuple[Packed, Packed] | None = None

    @property
    def bias(self) -> Tensor:
        """Bias of the fused matrix, [3 D]."""
        return torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))

    def pack(self) -> None:
        """Prepare the matrices for inference."""
        qkv, proj = pack(self.qkv.weight, self.bias), pack(self.proj.weight, self.proj.bias)
        self.packed = None if qkv is None or proj is None else (qkv, proj)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        b, n, d = x.shape
        x = x.to(self.qkv.weight.dtype)
        mixed = self.packed[0](x) if self.packed else F.linear(x, self.qkv.weight, self.bias)
        qkv = mixed.reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, N, head_dim] each
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        out: Tensor = self.packed[1](mixed) if self.packed else self.proj(mixed)
        return out


class _MlpLayer(nn.Module):
    """A linear layer under the name that the official keys have, with or without exact GELU after it."""

    def __init__(self, d_in: int, d_out: int, activate: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(d_in, d_out)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return F.gelu(x) if self.activate else x


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        first, second = _MlpLayer(width, hidden, True), _MlpLayer(hidden, width, False)
        self.layers = nn.Sequential(first, second)
        self.both = (first, second)  # the same two, typed; a tuple is no submodule, so keys stay
        self.packed: tuple[Packed, Packed] | None = None

    def pack(self) -> None:
        """Prepare the matrices for inference."""
        first, second = (pack(layer.linear.weight, layer.linear.bias, gelu=layer.activate) for layer in self.both)
        self.packed = None if first is None or second is None else (first, second)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        first, second = self.packed or self.both
        out: Tensor = second(first(x.to(self.both[0].linear.weight.dtype)))
        return out

    def mean(self, x: Tensor) -> Tensor:
        """The mean over tokens of `forward`, [B, N, D] -> [B, D]: the second linear layer sees N times less."""
        first = self.packed[0] if self.packed else self.both[0]
        hidden: Tensor = first(x.to(self.both[0].linear.weight.dtype))
        out: Tensor = self.both[1](hidden.mean(dim=1))
        return out


class Block(nn.Module):
    """Pre-norm block: x + Attn(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def mean(self, x: Tensor) -> Tensor:
        """The mean over tokens of `forward`, [B, N, D] -> [B, D]."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x.mean(dim=1) + self.mlp.mean(self.norm2(x))
        return out
