"""The prefix stream: hidden states that carry the controls through the frozen layers.

For adapted layer i, frozen layer l = s + i, with O_0 and Z_i from `expotion.adaptor.embedding`:

    A   = LN1_l(O_i) + Z_i                            the norm acts on O_i only
    q, k, v = heads(W_qkv,l A)                        kept, with the gate g_i, for layer l of the model
    U   = O_i + W_out,l SDPA(q, k, v)                 full attention (paper) or causal (released code)
    O_{i+1} = U + FFN_l(LN2_l(U))

No cross-attention. O_L would be thrown away, so the last layer stops at q, k, v. With `prefix_block: attention`
the recursion is the paper's: A = O_i + Z_i and O_{i+1} = W_out,l SDPA(q, k, v), no norm, residual or FFN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from expotion.adaptor.config import AdaptorConfig

# What the adaptor asks of the frozen language model. MusicGen's decoder in `expotion.musicgen` offers it.


class FrozenLayer(Protocol):
    """One layer's weights as the prefix stream uses them."""

    @property
    def norm1(self) -> Callable[[Tensor], Tensor]:
        """Norm before self-attention, [B, R, d] to the same."""
        ...

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, h, R, d/h] of a normed input."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attention of heads [B, h, R, d/h] among themselves."""
        ...

    def merge_heads(self, attended: Tensor) -> Tensor:
        """Output projection of attended heads: [B, R, d]."""
        ...

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward branch with its norm, without the residual: [B, R, d]."""
        ...


class FrozenLM(Protocol):
    """The model: its layers, its table of positions, its number type."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""
        ...

    def block(self, index: int) -> FrozenLayer:
        """Layer `index`, 0-based."""
        ...

    def position_table(self, start: int, n: int) -> Tensor:
        """Sinusoidal positions start..start+n-1, [n, d]."""
        ...


@dataclass(frozen=True)
class Prefix:
    """What the model's layers first_layer, first_layer + 1, .. receive.

    q, k, v: per layer [Bp, h, R, d/h]; gates: per layer a scalar; active bool [Bp, R] or None (everywhere);
    rows int64 [Bp]: the batch rows that have a prefix, or None (all, in order); position p uses prefix row
    min(p, row_limit - 1). lengths int64 [Bp]: how many of the R rows are a clip's own, or None (all); keys and
    values behind them are padding that nothing attends to.
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

    def padded(self, n_rows: int) -> Prefix:
        """The same prefix in `n_rows` rows. Positions behind its own end use the row that they used before."""
        device = self.k[0].device
        used = torch.arange(n_rows, device=device).clamp_(max=self.row_limit - 1)
        missing = n_rows - self.n_rows

        def longer(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(torch.nn.functional.pad(tensor, (0, 0, 0, missing)) for tensor in tensors)

        return replace(
            self,
            q=tuple(q[:, :, used] for q in self.q),
            k=longer(self.k),
            v=longer(self.v),
            active=None if self.active is None else self.active[:, used],
            row_limit=n_rows,
            lengths=self._lengths(),
        )

    def joined(self, other: Prefix) -> Prefix:
        """Both prefixes' clips in one; each names its batch rows, and the shorter one is padded."""
        if (self.n_rows, self.row_limit) == (other.n_rows, other.row_limit):
            return self._and(other)
        n_rows = max(self.n_rows, other.n_rows)
        return self.padded(n_rows)._and(other.padded(n_rows))

    def _lengths(self) -> Tensor:
        if self.lengths is not None:
            return self.lengths
        return torch.full((self.n_clips,), self.n_rows, device=self.k[0].device)

    def _and(self, other: Prefix) -> Prefix:
        assert self.rows is not None and other.rows is not None

        def both(mine: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(pair) for pair in zip(mine, theirs, strict=True))

        active = lengths = None
        if self.active is not None or other.active is not None:
            parts = [
                torch.ones(p.n_clips, self.n_rows, dtype=torch.bool, device=self.rows.device)
                if p.active is None
                else p.active
                for p in (self, other)
            ]
            active = torch.cat(parts)
        if self.lengths is not None or other.lengths is not None:
            lengths = torch.cat([self._lengths(), other._lengths()])
        return replace(
            self,
            q=both(self.q, other.q),
            k=both(self.k, other.k),
            v=both(self.v, other.v),
            active=active,
            rows=torch.cat([self.rows, other.rows]),
            lengths=lengths,
        )


def run_prefix(
    lm: FrozenLM,
    config: AdaptorConfig,
    start: Tensor,
    embedding: Callable[[int], Tensor],
    gates: Tensor,
    *,
    active: Tensor | None,
    rows: Tensor | None,
    row_limit: int,
    recompute: bool = False,
) -> Prefix:
    """Run the stream. start [R, d] is O_0; embedding(i) gives Z_i [Bp, R, d]; gates [n_adapted].

    `recompute` keeps only each layer's hidden state, q, k and v for the backward pass.
    """
    hidden = start[None]  # (1, R, d): the same for every clip until the first attention
    causal = config.prefix_attention == "causal"
    whole = config.prefix_block == "layer"
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def step(hidden: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        layer = lm.block(config.first_adapted_layer + index)
        normed = layer.norm1(hidden) if whole else hidden
        # both attentions that read them want them in one piece, and would each keep a copy for the backward pass
        q, k, v = (part.contiguous() for part in layer.heads(normed + embedding(index)))
        if index == config.n_adapted - 1:
            return q, k, v, None
        attended = layer.merge_heads(layer.attend(q, k, v, causal=causal))
        if not whole:
            return q, k, v, attended
        hidden = hidden + attended
        return q, k, v, hidden + layer.feed_forward(hidden)

    following: Tensor | None = hidden
    for index in range(config.n_adapted):
        assert following is not None
        if recompute and torch.is_grad_enabled():
            q, k, v, following = checkpoint(
                step, following, index, use_reentrant=False, preserve_rng_state=False
            )
        else:
            q, k, v, following = step(following, index)
        kept.append((q, k, v))
    return Prefix(
        first_layer=config.first_adapted_layer,
        q=tuple(q for q, _, _ in kept),
        k=tuple(k for _, k, _ in kept),
        v=tuple(v for _, _, v in kept),
        gates=tuple(gates.unbind(0)),
        active=active,
        rows=rows,
        row_limit=row_limit,
    )
