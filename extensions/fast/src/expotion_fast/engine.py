"""The engine whose step is one compiled function on every thread; see kernel.py.

fp32, bf16 and int8 on a CPU. Weights and caches are what the mode says, everything else is float32. The result
does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expotion import machine
from expotion.contracts import Mode
from expotion.errors import ExpotionError
from expotion.musicgen.decoder import MusicGenLM, sinusoid
from expotion.musicgen.engine import memory
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.engine.weights import Norm
from expotion.musicgen.gate import Prefix
from expotion_fast import fields as f
from expotion_fast.kernel import run
from expotion_fast.layout import KINDS, LANES, TILE, pad, padded
from expotion_fast.linear import FusedLinear
from expotion_fast.state import FusedState, Numbers, add_caches, add_prefix, add_text
from expotion_fast.threads import counters_for, on_all, yield_address

ITEMS_AT_ONCE = 64
"""Rows times positions of one call of the kernel, more only where a batch has more rows."""
PHASES = 8
"""Of a layer, at most."""


class FusedEngine(Engine):
    """An `Engine` with a kernel of its own. One thread at a time may use it."""

    steady = True

    def __init__(self, lm: MusicGenLM, mode: Mode) -> None:
        super().__init__(lm, mode, FusedLinear)
        self._kept = torch.float32 if mode == "fp32" else torch.bfloat16
        self._head = padded(self.layers[0].head_width, LANES)
        self._norms: list[Tensor] = []
        self._ones = torch.ones(self._head)
        self._frame, self._rows = self._tables()

    def _norm(self, norm: Norm) -> tuple[int, int]:
        both = pad(norm.weight, 0, LANES).contiguous(), pad(norm.bias, 0, LANES).contiguous()
        self._norms += both
        return both[0].data_ptr(), both[1].data_ptr()

    def _tables(self) -> tuple[Numbers, Numbers]:
        """What the kernel is told of the model."""
        sizes = self.geometry
        frame, table = np.zeros(f.N_FIELDS, np.int64), np.zeros((sizes.n_layers, f.N_COLUMNS), np.int64)
        merged = sizes.n_heads * self._head
        frame[f.KIND], frame[f.KEPT] = KINDS[self.mode], self._kept.itemsize
        frame[f.N_LAYERS], frame[f.WIDTH] = sizes.n_layers, sizes.width
        frame[f.WIDE] = padded(sizes.width, TILE)
        frame[f.N_HEADS], frame[f.HEAD], frame[f.MERGED] = sizes.n_heads, self._head, padded(merged, TILE)
        frame[f.QKV_WIDE], frame[f.FFN] = padded(3 * merged, TILE), padded(sizes.ffn_width, TILE)
        frame[f.LOGITS_WIDE] = self.output_heads.n_wide  # type: ignore[attr-defined]
        frame[f.NORM_OUT], frame[f.NORM_OUT_BIAS] = self._norm(self.norm_out)
        frame[f.HEADS], frame[f.HEADS_SCALE] = self.output_heads.addresses  # type: ignore[attr-defined]
        frame[f.YIELD], frame[f.ONES] = yield_address(), self._ones.data_ptr()
        for row, layer in zip(table, self.layers, strict=True):
            norms = {f.NORM1: layer.norm_self, f.CROSS: layer.norm_cross, f.NORM2: layer.norm_ffn}
            for column, norm in norms.items():
                row[column], row[column + 1] = self._norm(norm)
            linears = {f.QKV_W: layer.qkv, f.OUT_W: layer.out}
            linears |= {f.IN_W: layer.ffn_in, f.FFN_W: layer.ffn_out}
            for column, linear in linears.items():
                row[column], row[column + 1] = linear.addresses  # type: ignore[attr-defined]
        return frame, table

    @torch.inference_mode()
    def start(  # type: ignore[override]
        self, source: Tensor, n_positions: int, prefix: Prefix | None = None, *, source_mask: Tensor | None = None
    ) -> FusedState:
        """State for generating up to `n_positions` steps after a text source [B, L, d]."""
        self.check_state(source, n_positions, prefix)
        table = sinusoid(0, n_positions, self.geometry.width, torch.float32)
        state = FusedState(0, n_positions, len(source), table, self._frame.copy(), self._rows.copy())
        rooms = padded(n_positions, LANES)
        add_caches(state, rooms, self._head, self.geometry.n_heads, self._kept)
        add_text(state, self.layers, source.float(), source_mask, self._kept, self.mode)
        self.steer(state, prefix)
        self._add_buffers(state)
        memory.use_huge_pages(state.read_by_a_step(), self.step_bytes)
        return state

    def steer(self, state: FusedState, prefix: Prefix | None) -> None:  # type: ignore[override]
        """As the engine's."""
        add_prefix(state, prefix, torch.int8 if self.mode == "int8" else self._kept)

    def _add_buffers(self, state: FusedState) -> None:
        """What a call computes in, for `ITEMS_AT_ONCE` items or one position of the batch."""
        frame, items = state.frame, max(ITEMS_AT_ONCE, state.batch)
        for place, columns in (
            (f.X, frame[f.WIDE]),
            (f.QKV, frame[f.QKV_WIDE]),
            (f.ATTENDED, frame[f.MERGED]),
            (f.HIDDEN, frame[f.FFN]),
            (f.TEXT, frame[f.TEXT_WIDE]),
            (f.LOGITS, frame[f.LOGITS_WIDE]),
        ):
            buffer = torch.zeros(items, int(columns))
            frame[place] = state.hold(buffer)
            if place == f.X:
                state.x = buffer
            elif place == f.LOGITS:
                state.logits = buffer
        widest = max(int(frame[i]) for i in (f.WIDE, f.MERGED, f.FFN, f.TEXT_WIDE))
        rooms = max(int(frame[i]) for i in (f.ROOMS, f.TEXT_ROOMS, f.PREFIX_ROOMS))
        end = items * (4 * widest + 64)
        for place, floats in (
            (f.SCRATCH_ROW, int(frame[f.WIDE])),
            (f.SCRATCH_SOFT, int(frame[f.TEXT_WIDE])),
            (f.SCRATCH_SCORES, rooms),
            (f.SCRATCH_OWN, self._head),
        ):
            frame[place] = end
            end += padded(4 * floats, 64)
        frame[f.SCRATCH_BYTES] = padded(end, 4096)

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: FusedState) -> Tensor:  # type: ignore[override]
        """As the engine's: tokens [B, K] or, as the first call, [B, K, S]; logits of the last position."""
        if tokens.dim() == 2:
            tokens = tokens[:, :, None]
        length = tokens.shape[2]
        state.check_room(length)
        if len(tokens) != state.batch:
            raise ExpotionError(f"{len(tokens)} rows of tokens for a state of {state.batch}")
        at_once = max(1, ITEMS_AT_ONCE // state.batch)
        for first in range(0, length, at_once):
            some = tokens[:, :, first : first + at_once]
            self._run(some, state, last=first + at_once >= length)
        sizes = self.geometry
        flat = state.logits[: state.batch, : sizes.n_codebooks * sizes.card]
        return flat.clone().view(state.batch, sizes.n_codebooks, sizes.card)

    def _run(self, tokens: Tensor, state: FusedState, *, last: bool) -> None:
        """Some positions [B, K, S] through all layers; logits of the last one if it is the call's last."""
        batch, _, length = tokens.shape
        frame, start = state.frame, state.position
        x = self.embed(tokens).add_(state.positions[start : start + length])
        state.x[: batch * length, : self.geometry.width] = x.view(batch * length, -1)
        threads = machine.threads()
        if state.scratch is None or len(state.scratch) < threads * int(frame[f.SCRATCH_BYTES]):
            state.scratch = torch.zeros(threads * int(frame[f.SCRATCH_BYTES]), dtype=torch.uint8)
            frame[f.SCRATCH] = state.scratch.data_ptr()
            state.counters = counters_for(PHASES * len(state.table) + 1)
            frame[f.COUNTERS] = state.counters.ctypes.data
        frame[f.LENGTH], frame[f.START] = length, start
        state.counters.fill(0)
        on_all(
            run,
            frame,
            state.table,
            self.layers[0].head_width ** -0.5,
            *state.items(length, last=last),
            state.text_counts,
            state.prefix_of,
            state.prefix_lengths,
            state.openness,
            n_bytes=self.step_bytes // len(self.layers),
        )
        state.position = start + length
