"""The gate: how a prefix enters the attention of an adapted layer.

    S <- S + g a S'      S' = SDPA(q + q^p, k^p, v^p)      every position sees every prefix row

g is the layer's gate, a number; a is 1 where the prefix speaks at a position and 0 where it is silent. Training
computes it so. While a clip is made neither g nor the prefix changes, so engines keep g v^p, by which the same sum
comes out: SDPA(q + q^p, k^p, g v^p) = g S'. `gated` is the product in both, and in the compiled engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from expotion.musicgen.attention import attend

Rows = slice | Tensor | None
"""Rows of a batch: a run of them, an index tensor, or None for all."""


class GatedPrefix(Protocol):
    """The prefix as the decoder reads it; the adaptor makes one.

    For layer first_layer + i: q, k, v [Bp, h, R, d/h] and a scalar gate. `active` [Bp, R] is false where the
    gated term must be zero (None: nowhere). `rows` [Bp] names the batch rows that have a prefix (None: all).
    Position p uses prefix row min(p, row_limit - 1). `lengths` [Bp]: how many of the R rows are attended to (None:
    all).
    """

    @property
    def first_layer(self) -> int:
        """Index of the first adapted layer."""
        ...

    @property
    def q(self) -> Sequence[Tensor]:
        """Per adapted layer [Bp, h, R, d/h]."""
        ...

    @property
    def k(self) -> Sequence[Tensor]:
        """Per adapted layer [Bp, h, R, d/h]."""
        ...

    @property
    def v(self) -> Sequence[Tensor]:
        """Per adapted layer [Bp, h, R, d/h]."""
        ...

    @property
    def gates(self) -> Sequence[Tensor]:
        """Per adapted layer a scalar."""
        ...

    @property
    def active(self) -> Tensor | None:
        """bool [Bp, R], or None: everywhere."""
        ...

    @property
    def rows(self) -> Tensor | None:
        """int64 [Bp] batch rows, or None: all."""
        ...

    @property
    def row_limit(self) -> int:
        """Rows that positions may use."""
        ...

    @property
    def lengths(self) -> Tensor | None:
        """int64 [Bp]: rows that are attended to, or None: all."""
        ...


def prefix_mask(prefix: GatedPrefix) -> Tensor | None:
    """Which keys of a prefix are attended to: bool [Bp, 1, 1, R], or None: all."""
    if prefix.lengths is None:
        return None
    k = prefix.k[0]
    return torch.arange(k.shape[2], device=k.device) < prefix.lengths.to(k.device)[:, None, None, None]


def row_selection(rows: Tensor | None) -> Rows:
    """A run of consecutive rows as a slice, which costs nothing to take; other selections stay as they are."""
    if rows is None or len(rows) == 0:
        return rows
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and bool((rows[1:] > rows[:-1]).all()):
        return slice(first, last + 1)
    return rows


def gated(x: Tensor, gate: Tensor) -> Tensor:
    """g x."""
    return x * gate


@dataclass(frozen=True)
class GateInput:
    """What one layer needs of the prefix.

    q [Bp, h, S, d/h] aligned with the positions at hand (or S = 1 to serve one of them); k, v [Bp, h, R, d/h];
    `gate` is a scalar, [Bp, 1, S, 1] where some rows are silent, or None where `v` has it already; `rows` says
    which rows of the batch have a prefix; `mask` bool [Bp, 1, 1, R] which keys are seen (None: all).
    """

    q: Tensor
    k: Tensor
    v: Tensor
    gate: Tensor | None
    rows: Rows
    mask: Tensor | None = None


def add_gated(attended: Tensor, query: Tensor, prefix: GateInput, *, in_place: bool = False) -> Tensor:
    """S + g a S' for the rows that have a prefix; the other rows come back untouched. [B, h, S, d/h].

    `in_place` allows `attended` to be overwritten (when no gradient is wanted and nobody else reads it).
    """
    rows = prefix.rows
    own = query if rows is None else query[rows]
    term = attend(own + prefix.q, prefix.k, prefix.v, mask=prefix.mask)
    if prefix.gate is not None:
        term = gated(term, prefix.gate)
    if rows is None:
        return attended + term.to(attended.dtype)
    if in_place and isinstance(rows, slice):
        attended[rows] += term
        return attended
    if isinstance(rows, slice):
        inside = attended[rows] + term.to(attended.dtype)
        return torch.cat([attended[: rows.start], inside, attended[rows.stop :]])
    return attended.index_add(0, rows, term.to(attended.dtype))


def gate_input(prefix: GatedPrefix, index: int, length: int, rows: Rows) -> GateInput:
    """The prefix of one layer for the positions 0..length-1."""
    q = prefix.q[index]
    window: slice | Tensor = slice(0, length)
    if length > prefix.row_limit:
        window = torch.arange(length, device=q.device).clamp_(max=prefix.row_limit - 1)
    gate = prefix.gates[index].to(q.dtype)
    if prefix.active is not None:
        gate = gated(prefix.active[:, window].to(q.dtype)[:, None, :, None], gate)  # (Bp, 1, S, 1)
    return GateInput(q[:, :, window], prefix.k[index], prefix.v[index], gate, rows, prefix_mask(prefix))


def kept_values(prefix: GatedPrefix) -> list[Tensor]:
    """g v^p of each adapted layer, float32: what an engine keeps."""
    return [
        gated(v.detach().float(), g.detach().float()) for v, g in zip(prefix.v, prefix.gates, strict=True)
    ]
