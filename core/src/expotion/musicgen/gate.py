"""The gate: how a prefix enters the attention of an adapted layer.

    S <- S + g a S'      S' = SDPA(q + q^p, k^p, v^p)      every position sees every prefix row

g is the layer's gate, a number; a is 1 where the prefix speaks at a position and 0 where it is silent. Training
computes it so. While a clip is made neither g nor the prefix changes, so engines keep g v^p, by which the same sum
comes out: SDPA(q + q^p, k^p, g v^p) = g S'. `gated` is the product in both, and in the compiled engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from expotion.musicgen.attention import attend

Rows = slice | Tensor | None
"""Rows of a batch: a run of them, an index tensor, or None for all."""


@dataclass(frozen=True)
class Prefix:
    """What the model's layers first_layer, first_layer + 1, .. receive; the adaptor makes one.

    q, k, v: per layer [Bp, h, R, d/h]; gates: per layer a scalar; active bool [Bp, R]: false where the gated term
    is zero (None: nowhere); rows int64 [Bp]: the batch rows that have a prefix, or None (all, in order); position
    p uses prefix row min(p, row_limit - 1). lengths int64 [Bp]: how many of the R rows are a clip's own, or None
    (all); keys and values behind them are padding that nothing attends to.
    """

    first_layer: int
    q: tuple[Tensor, ...]
    k: tuple[Tensor, ...]
    v: tuple[Tensor, ...]
    gates: tuple[Tensor, ...]
    active: Tensor | None
    rows: Tensor | None
    row_limit: int
    lengths: Tensor | None = None

    @property
    def n_clips(self) -> int:
        """Number of batch rows with a prefix, Bp."""
        return self.k[0].shape[0]

    @property
    def n_rows(self) -> int:
        """Rows R, padding included."""
        return self.k[0].shape[2]

    @property
    def mask(self) -> Tensor | None:
        """Which keys are attended to: bool [Bp, 1, 1, R], or None: all."""
        if self.lengths is None:
            return None
        device = self.k[0].device
        return torch.arange(self.n_rows, device=device) < self.lengths.to(device)[:, None, None, None]

    def padded(self, n_rows: int) -> Prefix:
        """The same prefix in `n_rows` rows. Positions behind its own end use the row that they used before."""
        used = torch.arange(n_rows, device=self.k[0].device).clamp_(max=self.row_limit - 1)
        added = (0, 0, 0, n_rows - self.n_rows)
        return replace(
            self,
            q=tuple(q[:, :, used] for q in self.q),
            k=tuple(functional.pad(k, added) for k in self.k),
            v=tuple(functional.pad(v, added) for v in self.v),
            active=None if self.active is None else self.active[:, used],
            row_limit=n_rows,
            lengths=self._lengths(),
        )

    def joined(self, other: Prefix) -> Prefix:
        """Both prefixes' clips in one; each names its batch rows, and the shorter one is padded."""
        if (self.n_rows, self.row_limit) != (other.n_rows, other.row_limit):
            n_rows = max(self.n_rows, other.n_rows)
            return self.padded(n_rows).joined(other.padded(n_rows))
        assert self.rows is not None and other.rows is not None

        def both(mine: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(pair) for pair in zip(mine, theirs, strict=True))

        everywhere = self.active is None and other.active is None
        whole = self.lengths is None and other.lengths is None
        return replace(
            self,
            q=both(self.q, other.q),
            k=both(self.k, other.k),
            v=both(self.v, other.v),
            active=None if everywhere else torch.cat([self._active(), other._active()]),
            rows=torch.cat([self.rows, other.rows]),
            lengths=None if whole else torch.cat([self._lengths(), other._lengths()]),
        )

    def followed_by(self, new: Prefix) -> Prefix:
        """The same clips with further rows, `new`, whose own `row_limit` counts from the first."""

        def both(mine: tuple[Tensor, ...], more: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(pair, dim=2) for pair in zip(mine, more, strict=True))

        return replace(
            new,
            q=both(self.q, new.q),
            k=both(self.k, new.k),
            v=both(self.v, new.v),
            active=torch.cat([self._active(), new._active()], dim=1),
        )

    def taken(self, entries: Tensor, rows: Tensor) -> Prefix:
        """Some of the clips' prefixes, int64 [m], each as often as it is named, for these batch rows, int64 [m]."""
        return replace(
            self,
            q=tuple(q[entries] for q in self.q),
            k=tuple(k[entries] for k in self.k),
            v=tuple(v[entries] for v in self.v),
            active=None if self.active is None else self.active[entries],
            rows=rows,
            lengths=None if self.lengths is None else self.lengths[entries],
        )

    def _active(self) -> Tensor:
        if self.active is not None:
            return self.active
        return torch.ones(self.n_clips, self.n_rows, dtype=torch.bool, device=self.k[0].device)

    def _lengths(self) -> Tensor:
        if self.lengths is not None:
            return self.lengths
        return torch.full((self.n_clips,), self.n_rows, device=self.k[0].device)


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


def gate_input(prefix: Prefix, index: int, length: int, rows: Rows) -> GateInput:
    """The prefix of one layer for the positions 0..length-1."""
    q = prefix.q[index]
    window: slice | Tensor = slice(0, length)
    if length > prefix.row_limit:
        window = torch.arange(length, device=q.device).clamp_(max=prefix.row_limit - 1)
    gate = prefix.gates[index].to(q.dtype)
    if prefix.active is not None:
        gate = gated(prefix.active[:, window].to(q.dtype)[:, None, :, None], gate)  # (Bp, 1, S, 1)
    return GateInput(q[:, :, window], prefix.k[index], prefix.v[index], gate, rows, prefix.mask)


def kept_values(prefix: Prefix) -> list[Tensor]:
    """g v^p of each adapted layer, float32: what an engine keeps."""
    return [gated(v.detach().float(), g.detach().float()) for v, g in zip(prefix.v, prefix.gates, strict=True)]
