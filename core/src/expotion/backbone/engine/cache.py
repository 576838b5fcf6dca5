"""The self-attention cache, and the two ways to say where in it a step stands.

A `Slice` knows its position as a number: it writes to a slice and attends to what is filled. A `Pointer` knows it
as a tensor on the device: it writes by index and attends to all rooms under a mask, so every step is the same
sequence of operations on the same memory. That is what a CUDA graph can replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Cursor(Protocol):
    """Where the S positions at hand stand."""

    def attend(self, q: Tensor, fused: Tensor, cache: Tensor) -> Tensor:
        """Store the keys and values of `fused` [B, S, 3, h, c] in `cache` [2, B, h, P, c]; attention of q."""
        ...

    def positions(self, table: Tensor) -> Tensor:
        """Rows of a table [P, ...] for the positions at hand: [S, ...]."""
        ...

    def prefix_rows(self, table: Tensor, limit: int) -> Tensor:
        """Rows min(position, limit - 1) of dimension 2 of a table [Bp, h, R, c]: [Bp, h, S, c]."""
        ...


def _rooms(fused: Tensor) -> Tensor:
    """Keys and values as the cache holds them, [2, B, h, S, c]."""
    return fused[:, :, 1:].permute(2, 0, 3, 1, 4)


@dataclass(frozen=True)
class Slice:
    """Positions start..end-1; more than one only from 0 on."""

    start: int
    end: int

    def attend(self, q: Tensor, fused: Tensor, cache: Tensor) -> Tensor:
        """Causal among the positions at hand."""
        cache[:, :, :, self.start : self.end].copy_(_rooms(fused))
        keys, values = cache[:, :, :, : self.end].unbind(0)
        return functional.scaled_dot_product_attention(q, keys, values, is_causal=self.end - self.start > 1)

    def positions(self, table: Tensor) -> Tensor:
        """A view."""
        return table[self.start : self.end]

    def prefix_rows(self, table: Tensor, limit: int) -> Tensor:
        """A view wherever one row, or a run of rows, serves."""
        if self.end <= limit:
            return table[:, :, self.start : self.end]
        if self.start >= limit - 1:
            return table[:, :, limit - 1 : limit]
        at = torch.arange(self.start, self.end, device=table.device).clamp_(max=limit - 1)
        return table[:, :, at]


class Pointer:
    """One position, int64 [1] on the device, for a cache of `n_positions` rooms."""

    def __init__(self, n_positions: int, device: torch.device) -> None:
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self._rooms = torch.arange(n_positions, device=device)
        self._seen = torch.zeros(1, 1, 1, n_positions, dtype=torch.bool, device=device)

    def prepare(self) -> None:
        """Make the mask of the position at hand; part of every step."""
        torch.le(self._rooms, self.position, out=self._seen[0, 0, 0])

    def attend(self, q: Tensor, fused: Tensor, cache: Tensor) -> Tensor:
        """Over all rooms, those ahead masked."""
        cache.index_copy_(3, self.position, _rooms(fused).to(cache.dtype))
        return functional.scaled_dot_product_attention(q, cache[0], cache[1], attn_mask=self._seen)

    def positions(self, table: Tensor) -> Tensor:
        """By index."""
        return table.index_select(0, self.position)

    def prefix_rows(self, table: Tensor, limit: int) -> Tensor:
        """By index."""
        return table.index_select(2, self.position.clamp(max=limit - 1))
