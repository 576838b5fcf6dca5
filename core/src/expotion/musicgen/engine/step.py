"""The engine: `MusicGenLM` step by step, with everything but reading the weights cut down.

Made once per clip: the text's keys and values (or what they fold into), the prefix, the caches, the positions.
Per step and layer: four packed matrices, one cache write, one attention, the text's branch for rows that have a
text, the prefix's term for rows that have a prefix. The residual stream is float32 in every mode.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from expotion import machine
from expotion.contracts import Mode
from expotion.errors import ExpotionError
from expotion.musicgen.decoder import MusicGenLM, sinusoid
from expotion.musicgen.engine import memory
from expotion.musicgen.engine.layer import EngineLayer
from expotion.musicgen.engine.text import TextState
from expotion.musicgen.engine.weights import DTYPES, Linear, Norm, Pack, check_mode, pack_normed
from expotion.musicgen.engine.weights import pack as plain_pack
from expotion.musicgen.gate import GateInput, Prefix, Rows, add_gated, kept_values, row_selection
from expotion.musicgen.geometry import LMGeometry
from expotion.musicgen.melody import in_front, null_front

# The self-attention cache, and the two ways to say where in it a step stands.
#
# A `Slice` knows its position as a number: it writes to a slice and attends to what is filled. A `Pointer` knows it
# as a tensor on the device: it writes by index and attends to all rooms under a mask, so every step is the same
# sequence of operations on the same memory. That is what a CUDA graph can replay. Both offer, for S positions:
#
#     attend(q, fused, cache)      store keys and values of `fused` [B, S, 3, h, c] in `cache` [2, B, h, P, c];
#                                  attention of q [B, h, S, c]
#     positions(table)             rows of a table [P, ...]: [S, ...]
#     prefix_rows(table, limit)    rows min(position, limit - 1) of dimension 2 of a table [Bp, h, R, c]


def _rooms(fused: Tensor) -> Tensor:
    """Keys and values as the cache holds them, [2, B, h, S, c]."""
    return fused[:, :, 1:].permute(2, 0, 3, 1, 4)


@dataclass(frozen=True)
class Slice:
    """Positions start..end-1 of the music; more than one only from 0 on, with a melody model's `front` rows."""

    start: int
    end: int
    front: int = 0

    @property
    def rooms(self) -> slice:
        """Where in the cache they stand: behind what is in front, which the first ones bring along."""
        return slice(self.front + self.start if self.start else 0, self.front + self.end)

    def attend(self, q: Tensor, fused: Tensor, cache: Tensor) -> Tensor:
        """Causal among the positions at hand."""
        cache[:, :, :, self.rooms].copy_(_rooms(fused))
        keys, values = cache[:, :, :, : self.rooms.stop].unbind(0)
        return functional.scaled_dot_product_attention(q, keys, values, is_causal=q.shape[2] > 1)

    def positions(self, table: Tensor) -> Tensor:
        """A view."""
        return table[self.rooms]

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


Cursor = Slice | Pointer
"""Where the S positions at hand stand."""


# The gated prefix as a step reads it: g S' = SDPA(q + q^p, k^p, g v^p), the gate inside the values.
#
# Keys, values and queries are laid out once per clip in the type of attention. Where nothing is active at a step
# the whole term is skipped, which leaves the model's own arithmetic untouched.


class PrefixState:
    """q, k, v per adapted layer [Bp, h, R, c]; v already times its gate."""

    def __init__(self, prefix: Prefix, dtype: torch.dtype, device: torch.device) -> None:
        def held(tensor: Tensor) -> Tensor:
            return tensor.detach().to(device, dtype).contiguous()

        self.first_layer = prefix.first_layer
        self.row_limit = prefix.row_limit
        self.rows: Rows = row_selection(None if prefix.rows is None else prefix.rows.to(device))
        self.q = [held(q) for q in prefix.q]
        self.k = [held(k) for k in prefix.k]
        self.v = [held(v) for v in kept_values(prefix)]
        self.mask = None if prefix.mask is None else prefix.mask.to(device)
        self.open: Tensor | None = None
        self._silent: list[bool] = []
        if prefix.active is not None:
            self.open = prefix.active.to(device, dtype)[:, None, :, None]  # (Bp, 1, R, 1)
            self._silent = (~prefix.active.any(dim=0)).tolist()

    def tensors(self) -> list[Tensor]:
        """What a step reads."""
        return [*self.q, *self.k, *self.v, *(part for part in (self.open, self.mask) if part is not None)]

    def is_silent(self, cursor: Slice) -> bool:
        """Whether no clip has anything active at the positions at hand."""
        last = self.row_limit - 1
        return bool(self._silent) and all(self._silent[min(p, last)] for p in range(cursor.start, cursor.end))

    def add_to(self, attended: Tensor, q: Tensor, layer: int, cursor: Cursor) -> Tensor:
        """attended [B, h, S, c] + the gated term of layer `layer`, perhaps in place; q [B, h, S, c]."""
        index = layer - self.first_layer
        if index < 0:
            return attended
        own = cursor.prefix_rows(self.q[index], self.row_limit)
        opened = None if self.open is None else cursor.prefix_rows(self.open, self.row_limit)
        given = GateInput(own, self.k[index], self.v[index], opened, self.rows, self.mask)
        return add_gated(attended, q, given, in_place=True)


@dataclass
class Fed:
    """How many positions have been fed, of how many."""

    position: int
    n_positions: int

    def check_room(self, length: int) -> None:
        """ExpotionError unless `length` more positions can be fed."""
        if self.position + length > self.n_positions or (length > 1 and self.position > 0):
            raise ExpotionError(
                f"cannot feed {length} steps at position {self.position} of {self.n_positions}: "
                "a prompt goes in first, then one step at a time"
            )


@dataclass
class EngineState(Fed):
    """What generation keeps between steps. caches: per layer [2, B, h, P, c], keys then values."""

    caches: list[Tensor]
    positions: Tensor
    text: TextState
    prefix: PrefixState | None
    front: Tensor | None = None
    """Of a melody model: chroma and text [B, L, d], which go in before the first step."""


class Engine:
    """The language model over packed weights, fed step by step.

    It also serves the adaptor's prefix stream, so the model that it was made from can be dropped.
    """

    steady = False
    """Whether a step gives the same bytes on any number of threads (`machine.threads`) while torch has one."""

    def __init__(self, lm: MusicGenLM, mode: Mode, pack: Pack = plain_pack) -> None:
        """Pack the weights of `lm`. ExpotionError where the machine cannot run `mode` or lacks the memory."""
        if pack is plain_pack:  # other layouts are their engine's to answer for
            check_mode(mode, lm.device)
        shared = pack is plain_pack and mode == "fp32" and lm.dtype == torch.float32
        memory.check(
            0 if shared else memory.weight_bytes(lm, mode),
            lm.device,
            f"the model's weights in {mode}",
            "a smaller model, or a precision of fewer bits (bf16 halves fp32, int8 halves bf16)",
        )
        self.mode = mode
        self.geometry: LMGeometry = lm.geometry
        self.device = lm.device
        self.dtype = DTYPES.get(mode) or (torch.bfloat16 if machine.computes_bfloat16() else torch.float32)
        k, card = self.geometry.n_codebooks, self.geometry.card
        self._table = lm.embedding.weight.detach().to(self.dtype)
        self._offset = torch.arange(k, device=self.device)[:, None] * (card + 1)
        self.layers = [EngineLayer(lm.block(index), mode, pack) for index in range(self.geometry.n_layers)]
        self.output_heads: Linear = pack(lm.output_heads.weight, mode)
        self.norm_out = Norm(lm.norm_out)
        self._logits = pack_normed(self.norm_out, self.output_heads)
        self._text_projection = None if lm.text_projection is None else deepcopy(lm.text_projection).float()
        self._chroma_projection = None if lm.chroma_projection is None else deepcopy(lm.chroma_projection).float()
        linears = [linear for layer in self.layers for linear in layer.linears]
        memory.use_huge_pages([linear.packed for linear in (*linears, self.output_heads)], self.step_bytes)

    @property
    def n_layers(self) -> int:
        """Number of layers N."""
        return self.geometry.n_layers

    @property
    def step_bytes(self) -> int:
        """Bytes of weights that every step reads, the text's and the prefix's own apart."""
        return sum(layer.step_bytes for layer in self.layers) + self.output_heads.n_bytes

    def block(self, index: int) -> EngineLayer:
        """Layer `index`, 0-based."""
        return self.layers[index]

    def position_table(self, start: int, n: int) -> Tensor:
        """Positions start..start+n-1 in `dtype`, [n, d]."""
        return sinusoid(start, n, self.geometry.width, self.dtype).to(self.device)

    def project_text(self, hidden: Tensor, mask: Tensor, melody: Tensor | None = None) -> Tensor:
        """As `MusicGenLM.project_text`, in float32: [B, L, text_width] and mask [B, L] to [B, L, d]."""
        source = hidden.to(self.device, torch.float32)
        if self._text_projection is not None:
            source = self._text_projection(source)
        source = source * mask.to(source)[:, :, None]
        if self._chroma_projection is None:
            return source
        return in_front(self.geometry, self._chroma_projection, source, melody)

    def null_text(self, source: Tensor) -> Tensor:
        """As `MusicGenLM.null_text`."""
        if self._chroma_projection is None:
            return torch.zeros_like(source)
        return null_front(self.geometry, self._chroma_projection, source)

    def check_state(self, source: Tensor, n_positions: int, prefix: Prefix | None) -> None:
        """ExpotionError where a state makes no sense or does not fit into memory."""
        if n_positions < 1:
            raise ExpotionError(f"n_positions must be at least 1, got {n_positions}")
        batch, length = source.shape[:2]
        prefix_rows = 0 if prefix is None else prefix.n_clips * prefix.n_rows
        memory.check(
            memory.state_bytes(self.geometry, self.dtype, batch, n_positions, length, prefix_rows),
            self.device,
            f"{n_positions} positions of {batch} rows in {self.mode}",
            "a shorter window, a smaller batch, bf16 or int8 instead of fp32, or a smaller model",
        )

    @torch.inference_mode()
    def start(
        self, source: Tensor, n_positions: int, prefix: Prefix | None = None, *, source_mask: Tensor | None = None
    ) -> EngineState:
        """State for generating up to `n_positions` steps after a text source [B, L, d]."""
        self.check_state(source, n_positions, prefix)
        batch, geometry = source.shape[0], self.geometry
        front = None if geometry.chroma is None else source.to(self.device, torch.float32)
        rooms = n_positions + (0 if front is None else front.shape[1])
        shape = (2, batch, geometry.n_heads, rooms, geometry.head_width)
        table = sinusoid(0, rooms, geometry.width, self.dtype)
        state = EngineState(
            position=0,
            n_positions=n_positions,
            caches=[torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in self.layers],
            positions=table.to(self.device, torch.float32),
            text=TextState(
                self.layers, source.to(self.device) if front is None else front[:, :0], source_mask, self.dtype
            ),
            prefix=None if prefix is None else PrefixState(prefix, self.dtype, self.device),
            front=front,
        )
        memory.use_huge_pages(state.caches, self.step_bytes)
        return state

    def steer(self, state: EngineState, prefix: Prefix) -> None:
        """Put another prefix, of the same shape, in the place of a state's: for the next step."""
        state.prefix = PrefixState(prefix, self.dtype, self.device)

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: EngineState) -> Tensor:
        """Feed the next tokens, [B, K] or [B, K, S] (S > 1 only as the first call); logits of the last, float32.

        [B, K, V]. Advances `state.position`.
        """
        if tokens.dim() == 2:
            tokens = tokens[:, :, None]
        start, length = state.position, tokens.shape[2]
        state.check_room(length)
        cursor = Slice(start, start + length, 0 if state.front is None else state.front.shape[1])
        prefix = state.prefix
        if prefix is not None and prefix.is_silent(cursor):
            prefix = None
        logits = self.advance(tokens, state, cursor, prefix)
        state.position = start + length
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        """Sum of the codebooks' embeddings of tokens [B, K, S]: float32 [B, S, d]."""
        rows = functional.embedding((tokens + self._offset).transpose(1, 2), self._table)  # (B, S, K, d)
        return rows.sum(dim=2, dtype=torch.float32)

    def advance(self, tokens: Tensor, state: EngineState, cursor: Cursor, prefix: PrefixState | None) -> Tensor:
        """The arithmetic of a step on tokens [B, K, S], wherever `cursor` says it stands."""
        x = self.embed(tokens)
        front = 0
        if state.front is not None and state.position == 0:
            front = state.front.shape[1]
            x = torch.cat([state.front, x], dim=1)
        x = x.add_(cursor.positions(state.positions))
        batch, length, width = x.shape
        for index, layer in enumerate(self.layers):
            fused = layer.normed_qkv(x).view(batch, length, 3, layer.n_heads, layer.head_width)
            q = fused[:, :, 0].transpose(1, 2).to(self.dtype)
            attended = cursor.attend(q, fused, state.caches[index])
            if prefix is not None:
                steered = prefix.add_to(attended[:, :, front:], q[:, :, front:], index, cursor)
                attended = torch.cat([attended[:, :, :front], steered], dim=2) if front else steered
            layer.out.add_to(x, attended.transpose(1, 2).reshape(batch, length, width))
            state.text.add_to(x, layer, index)
            layer.add_ffn(x)
        flat = self._logits(x[:, -1])
        return flat.float().view(batch, self.geometry.n_codebooks, self.geometry.card)
