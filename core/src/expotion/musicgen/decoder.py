"""MusicGen's language model: delayed tokens in, logits over the codes of each codebook out.

    x_0 = sum_k emb_k[token_k] + position          (no scaling; positions count from 0 at the first step)
    x_{l+1} = layer_l(x_l, text, prefix_l)         (expotion.backbone.layer; the prefix from layer s on)
    logits_k = W_k LN(x_N)

The K embedding tables and the K heads are each stored as one matrix, so that each is one operation. The same
class serves training (`hidden`) and generation (`start`, `step`). Its weights never need a gradient; below the
first adapted layer nothing depends on a trainable tensor, so no graph is built there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from expotion.errors import ExpotionError
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.layer import EPS, DecoderLayer, GateInput

# Sinusoidal positions of MusicGen: [cos(p w_j) for all j, sin(p w_j) for all j], cosines first.
#
# w_j = 10000^(-j / (m - 1)) for j = 0..m-1 with m = d / 2: the denominator is m - 1, not m.


def sinusoid(start: int, n: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows start..start+n-1 of the table: [n, width] in `dtype`, computed in float32.

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


@dataclass
class DecodeState:
    """What generation keeps between steps; everything but `position` and the caches' contents is made once.

    keys, values: per layer [B, h, P, d/h] with room for P positions, filled up to `position`.
    """

    position: int
    n_positions: int
    keys: list[Tensor]
    values: list[Tensor]
    text: list[tuple[Tensor, Tensor]]
    text_mask: Tensor | None
    positions: Tensor
    prefix: GatedPrefix | None
    prefix_rows: slice | Tensor | None


def gate_input(
    prefix: GatedPrefix, index: int, start: int, length: int, rows: slice | Tensor | None
) -> GateInput:
    """The prefix of one layer cut to the positions start..start+length-1."""
    q = prefix.q[index]
    active = prefix.active
    limit = prefix.row_limit
    if start + length <= limit:
        window: slice | Tensor = slice(start, start + length)
    elif start >= limit - 1:
        window = slice(limit - 1, limit)  # one row serves every position at hand
    else:
        window = torch.arange(start, start + length, device=q.device).clamp_(max=limit - 1)
    gate = prefix.gates[index].to(q.dtype)
    if active is not None:
        gate = gate * active[:, window].to(q.dtype)[:, None, :, None]  # (Bp, 1, S, 1)
    return GateInput(q[:, :, window], prefix.k[index], prefix.v[index], gate, rows, prefix_mask(prefix))


def _row_selection(rows: Tensor | None) -> slice | Tensor | None:
    """A run of consecutive rows as a slice, which costs nothing to take; other selections stay as they are."""
    if rows is None or len(rows) == 0:
        return rows
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows) and bool((rows[1:] > rows[:-1]).all()):
        return slice(first, last + 1)
    return rows


@dataclass(frozen=True)
class _HeldPrefix:
    """A prefix as generation reads it, a row at a time: contiguous, in the model's type."""

    first_layer: int
    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]
    gates: list[Tensor]
    active: Tensor | None
    rows: Tensor | None
    row_limit: int
    lengths: Tensor | None

    @classmethod
    def of(cls, prefix: GatedPrefix, dtype: torch.dtype) -> _HeldPrefix:
        def held(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [tensor.detach().to(dtype).contiguous() for tensor in tensors]

        return cls(
            prefix.first_layer,
            held(prefix.q),
            held(prefix.k),
            held(prefix.v),
            held(prefix.gates),
            prefix.active,
            prefix.rows,
            prefix.row_limit,
            prefix.lengths,
        )


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

    def project_text(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Text encoder output [B, L, text_width] and mask [B, L] to the cross-attention source [B, L, d].

        linear (with bias), then times the mask: padded and null rows are exactly zero, the bias included.
        """
        source = hidden.to(self.dtype)
        if self.text_projection is not None:
            source = self.text_projection(source)
        return source * mask.to(source.dtype)[:, :, None]

    def null_text(self, batch: int, length: int) -> Tensor:
        """The source of an absent text: zeros [batch, length, d]."""
        return torch.zeros(batch, length, self.geometry.width, dtype=self.dtype, device=self.device)

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
        prefix: GatedPrefix | None = None,
        *,
        source_mask: Tensor | None = None,
        recompute: bool = False,
    ) -> Tensor:
        """Hidden states after the last norm, [B, S, d], of delayed tokens [B, K, S] and a text source [B, L, d].

        `source_mask` bool [B, L] hides padded text; None attends to it, as audiocraft does (padded keys are
        zero, so each adds exp(0) to the softmax's denominator). `recompute` keeps only each layer's input for the
        backward pass and computes the rest again there.
        """
        x = self.embed(sequence) + self.position_table(0, sequence.shape[2])
        x = self._run_layers(x, source, prefix, source_mask, recompute)
        normed: Tensor = self.norm_out(x)
        return normed

    def _run_layers(
        self,
        x: Tensor,
        source: Tensor,
        prefix: GatedPrefix | None,
        source_mask: Tensor | None,
        recompute: bool,
    ) -> Tensor:
        length = x.shape[1]
        source = source.to(x.dtype)
        mask = None if source_mask is None else source_mask[:, None, None, :]
        rows = None if prefix is None else _row_selection(prefix.rows)
        for index in range(self.n_layers):

            def run(x: Tensor, index: int = index) -> Tensor:
                layer, gate = self.block(index), None
                if prefix is not None and index >= prefix.first_layer:
                    gate = gate_input(prefix, index - prefix.first_layer, 0, length, rows)
                result: Tensor = layer(x, layer.text_keys(source), mask, gate)
                return result

            adapted = prefix is not None and index >= prefix.first_layer
            if recompute and adapted and torch.is_grad_enabled():
                x = checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = run(x)
        return x

    def forward(
        self,
        sequence: Tensor,
        source: Tensor,
        prefix: GatedPrefix | None = None,
        *,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, K, S, V] of delayed tokens [B, K, S]."""
        return self.logits(self.hidden(sequence, source, prefix, source_mask=source_mask))

    @torch.no_grad()
    def start(
        self,
        source: Tensor,
        n_positions: int,
        prefix: GatedPrefix | None = None,
        *,
        source_mask: Tensor | None = None,
    ) -> DecodeState:
        """State for generating up to `n_positions` steps after a text source [B, L, d]."""
        batch = source.shape[0]
        if n_positions < 1:
            raise ExpotionError(f"n_positions must be at least 1, got {n_positions}")
        source = source.to(self.dtype)
        shape = (batch, self.geometry.n_heads, n_positions, self.geometry.head_width)

        def empty() -> list[Tensor]:
            return [torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(self.n_layers)]

        text = []
        for index in range(self.n_layers):
            k, v = self.block(index).text_keys(source)
            text.append((k.contiguous(), v.contiguous()))
        return DecodeState(
            position=0,
            n_positions=n_positions,
            keys=empty(),
            values=empty(),
            text=text,
            text_mask=None if source_mask is None else source_mask[:, None, None, :],
            positions=self.position_table(0, n_positions),
            prefix=None if prefix is None else _HeldPrefix.of(prefix, self.dtype),
            prefix_rows=None if prefix is None else _row_selection(prefix.rows),
        )

    @torch.no_grad()
    def step(self, tokens: Tensor, state: DecodeState) -> Tensor:
        """Feed the next tokens, [B, K] or [B, K, S] (S > 1 only as the first call); logits [B, K, V] of the last.

        Advances `state.position`.
        """
        if tokens.dim() == 2:
            tokens = tokens[:, :, None]
        length = tokens.shape[2]
        start = state.position
        if start + length > state.n_positions or (length > 1 and start > 0):
            raise ExpotionError(
                f"cannot feed {length} steps at position {start} of {state.n_positions}: "
                "a prompt goes in first, then one step at a time"
            )
        x = self.embed(tokens) + state.positions[start : start + length]
        prefix = state.prefix
        for index in range(self.n_layers):
            gate = None
            if prefix is not None and index >= prefix.first_layer:
                gate = gate_input(prefix, index - prefix.first_layer, start, length, state.prefix_rows)
            x = self.block(index).step(
                x,
                (state.keys[index], state.values[index]),
                start,
                state.text[index],
                state.text_mask,
                gate,
            )
        state.position = start + length
        normed = functional.layer_norm(
            x[:, -1], (self.geometry.width,), self.norm_out.weight, self.norm_out.bias, EPS
        )
        flat: Tensor = self.output_heads(normed)
        return flat.view(-1, self.geometry.n_codebooks, self.geometry.card)
