"""How numbers lie in memory for the kernels: matrices in tiles, keys and values in blocks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LANES = 16
TILE = 64
KINDS = {"fp32": 4, "bf16": 2, "int8": 1}
"""Bytes of a weight by mode; product.py names them."""
TYPES = {4: torch.float32, 2: torch.bfloat16}


def padded(n: int, multiple: int) -> int:
    """The next multiple."""
    return -(-n // multiple) * multiple


def pad(x: Tensor, dim: int, multiple: int) -> Tensor:
    """Zeros after a dimension, up to a multiple."""
    missing = padded(x.shape[dim], multiple) - x.shape[dim]
    if missing == 0:
        return x
    sides = [0] * (2 * (x.dim() - dim % x.dim()))
    sides[-1] = missing
    return functional.pad(x, sides)


def spread_heads(x: Tensor, dim: int, head: int) -> Tensor:
    """A dimension (from 0 on) of heads of `head` numbers each, with zeros after each up to a multiple of 16."""
    if head % LANES == 0:
        return x
    split = x.reshape(*x.shape[:dim], -1, head, *x.shape[dim + 1 :])
    return pad(split, dim + 1, LANES).flatten(dim, dim + 1)


def gather_heads(x: Tensor, head: int) -> Tensor:
    """The last dimension as it was before `spread_heads`."""
    if head % LANES == 0:
        return x
    return x.reshape(*x.shape[:-1], -1, padded(head, LANES))[..., :head].flatten(-2)


def tiles(weight: Tensor, kind: int) -> tuple[Tensor, Tensor]:
    """W [n, k], both multiples of 64, as a product reads it; and what comes with each tile of an int8 matrix.

    float32, bfloat16: [n / 64, k, 64]. int8: [n / 64, k / 4, 64, 4] of round(W_n / s_n), s_n = max|W_n| / 127; per
    tile 64 s_n (float32) and 64 -128 sum_k Q_nk (int32).
    """
    n, k = weight.shape
    if kind != KINDS["int8"]:
        return weight.to(TYPES[kind]).view(n // TILE, TILE, k).transpose(1, 2).contiguous(), torch.empty(0)
    weight = weight.float()
    scale = weight.abs().amax(dim=1).clamp_(min=1e-20) / 127.0
    whole = (weight / scale[:, None]).round_().to(torch.int8)
    start = whole.sum(dim=1, dtype=torch.int32) * -128
    both = torch.stack([scale.view(-1, TILE), start.view(torch.float32).view(-1, TILE)], dim=1)
    return whole.view(n // TILE, TILE, k // 4, 4).transpose(1, 2).contiguous(), both.contiguous()


def float_tiles(packed: Tensor, scales: Tensor) -> Tensor:
    """[n / 64, k, 64] of what `tiles` made: as it is, or float32 of an int8 matrix."""
    if packed.dtype != torch.int8:
        return packed
    return packed.transpose(2, 3).reshape(len(packed), -1, TILE) * scales[:, :1]


def key_blocks(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """Keys [B, h, R, c] as attention reads them: [B, h, R / 16, c, 16], R and c padded to multiples of 16."""
    keys = pad(pad(keys.to(dtype), 2, LANES), 3, LANES)
    batch, heads, rooms, width = keys.shape
    return keys.reshape(batch, heads, rooms // LANES, LANES, width).transpose(3, 4).contiguous()


def value_blocks(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values [B, h, R, c] likewise: [B, h, c / 16, R, 16]."""
    values = pad(pad(values.to(dtype), 2, LANES), 3, LANES)
    batch, heads, rooms, width = values.shape
    return values.reshape(batch, heads, rooms, width // LANES, LANES).transpose(2, 3).contiguous()


def by_channel(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Keys or values [B, h, R, c] and scales [B, h, c padded to 16]: -127..127 for int8, otherwise x and ones."""
    if dtype != torch.int8:
        return x, torch.ones(*x.shape[:2], padded(x.shape[3], LANES))
    scale = x.abs().amax(dim=2).clamp_(min=1e-20) / 127.0
    return (x / scale[:, :, None]).round_(), pad(scale, 2, LANES).contiguous()
