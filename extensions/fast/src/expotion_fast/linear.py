"""A packed matrix on its own: what the adaptor's prefix stream multiplies by, once per clip."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expotion import machine
from expotion.contracts import Mode
from expotion_fast.kernel import multiply, multiply_many
from expotion_fast.layout import KINDS, TILE, float_tiles, gather_heads, pad, padded, spread_heads, tiles
from expotion_fast.target import multiplies_bytes
from expotion_fast.threads import counters_for, on_all, yield_address

AT_ONCE = 64
"""Rows of one call."""


class FusedLinear:
    """An engine's `Linear` in tiles. `head_in`, `head_out`: its inputs, its outputs are heads of this width."""

    def __init__(
        self, weight: Tensor, mode: Mode, *, head_in: int | None = None, head_out: int | None = None
    ) -> None:
        self.kind = KINDS[mode]
        self.n, self.k = weight.shape
        self.head_in, self.head_out = head_in, head_out
        weight = weight.detach()
        if head_in is not None:
            weight = spread_heads(weight, 1, head_in)
        if head_out is not None:
            weight = spread_heads(weight, 0, head_out)
        self.packed, self.scales = tiles(pad(pad(weight, 0, TILE), 1, TILE), self.kind)
        self.n_wide, self.k_wide = padded(weight.shape[0], TILE), padded(weight.shape[1], TILE)

    @property
    def n_bytes(self) -> int:
        """Bytes that a product reads."""
        return self.packed.numel() * self.kind

    @property
    def addresses(self) -> tuple[int, int]:
        """Of the tiles and of their scales."""
        return self.packed.data_ptr(), self.scales.data_ptr()

    def __call__(self, x: Tensor) -> Tensor:
        """Float32."""
        rows = x.reshape(-1, self.k).float()
        if self.head_in is not None:
            rows = spread_heads(rows, 1, self.head_in)
        rows = pad(rows, 1, TILE).contiguous()
        out = self._multiply(rows) if len(rows) <= AT_ONCE else self._of_many(rows)
        if self.head_out is not None:
            out = gather_heads(out[:, : self.n // self.head_out * padded(self.head_out, 16)], self.head_out)
        return out[:, : self.n].reshape(*x.shape[:-1], self.n)

    def _of_many(self, rows: Tensor) -> Tensor:
        """Matrix products of many rows are torch's own trade, but for bytes where they are multiplied as such."""
        if self.kind == KINDS["int8"] and multiplies_bytes():
            return self._of_many_in_bytes(rows)

        def of_tiles(first: int, end: int) -> Tensor:
            some = float_tiles(self.packed[first:end], self.scales[first:end])
            inputs = rows.to(some.dtype)
            return torch.cat([torch.mm(inputs, tile) for tile in some], dim=1)

        return machine.in_parts(of_tiles, len(self.packed), dim=1).float()

    def _of_many_in_bytes(self, rows: Tensor) -> Tensor:
        out = torch.empty(len(rows), self.n_wide)
        scratch = torch.empty(len(rows) * (self.k_wide + 64), dtype=torch.uint8)
        counters = counters_for(2)
        on_all(
            multiply_many,
            *self.addresses,
            self.n_wide,
            self.k_wide,
            rows.data_ptr(),
            len(rows),
            out.data_ptr(),
            scratch.data_ptr(),
            counters.ctypes.data,
            yield_address(),
            n_bytes=self.n_bytes,
        )
        return out

    def _multiply(self, rows: Tensor) -> Tensor:
        out = torch.empty(len(rows), self.n_wide)
        scratch = torch.empty(machine.threads() * AT_ONCE * (4 * self.k_wide + 64), dtype=torch.uint8)
        for first in range(0, len(rows), AT_ONCE):
            some, to = rows[first : first + AT_ONCE], out[first : first + AT_ONCE]
            where = np.arange(len(some))
            counters = counters_for(1)
            on_all(
                multiply,
                self.kind,
                *self.addresses,
                self.n_wide,
                self.k_wide,
                some.data_ptr(),
                where,
                to.data_ptr(),
                scratch.data_ptr(),
                counters.ctypes.data,
                n_bytes=self.n_bytes,
            )
        return out

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """In place."""
        total.add_(self(x))
