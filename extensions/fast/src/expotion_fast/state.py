"""What a clip's generation keeps between steps, laid out for the kernel, and the tables that tell it where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.contracts import Mode
from expotion.musicgen.engine.layer import EngineLayer
from expotion.musicgen.engine.step import Fed
from expotion.musicgen.engine.text import fold_text, spoken_text
from expotion.musicgen.gate import Prefix, kept_values
from expotion_fast import fields as f
from expotion_fast.layout import LANES, TILE, by_channel, key_blocks, padded, value_blocks
from expotion_fast.linear import FusedLinear

Numbers = NDArray[np.int64]


@dataclass
class FusedState(Fed):
    """One clip's, or one batch's. `kept` holds every tensor that the tables point into."""

    batch: int
    positions: Tensor
    frame: Numbers
    table: Numbers
    text_rows: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    text_counts: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    prefix_of: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    prefix_lengths: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    openness: NDArray[np.float32] = field(default_factory=lambda: np.ones((1, 1), np.float32))
    x: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    scratch: Tensor | None = None
    counters: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    kept: list[Tensor | FusedLinear] = field(default_factory=list)
    steered_by: list[Tensor] = field(default_factory=list)
    """Tensors of the prefix, which can be put in the place of another."""
    _items: dict[tuple[int, bool], tuple[Numbers, Numbers, Numbers]] = field(default_factory=dict)

    def hold(self, tensor: Tensor) -> int:
        """Keep a tensor alive as long as the state; its address."""
        self.kept.append(tensor)
        return tensor.data_ptr()

    def items(self, length: int, *, last: bool) -> tuple[Numbers, Numbers, Numbers]:
        """Items of a call of `length` positions: all, those of the last one if it is wanted, those with a text."""
        if (length, last) not in self._items:
            ends = np.arange(1, 1 + (self.batch if last else 0)) * length - 1
            texts = self.text_rows[:, None] * length + np.arange(length)
            self._items[length, last] = np.arange(self.batch * length), ends, texts.ravel()
        return self._items[length, last]

    def read_by_a_step(self) -> Iterator[Tensor]:
        """Caches, the text's matrices and the prefix."""
        for one in (*self.kept, *self.steered_by):
            yield one.packed if isinstance(one, FusedLinear) else one


def add_caches(state: FusedState, rooms: int, head: int, n_heads: int, dtype: torch.dtype) -> None:
    """Empty caches of keys and values for every layer."""
    state.frame[f.ROOMS] = rooms
    for row in state.table:
        for column in (f.CACHE_K, f.CACHE_V):
            row[column] = state.hold(torch.zeros(state.batch * n_heads * rooms * head, dtype=dtype))


def add_text(
    state: FusedState,
    layers: Sequence[EngineLayer],
    source: Tensor,
    mask: Tensor | None,
    dtype: torch.dtype,
    mode: Mode,
) -> None:
    """The text's branch: folded matrices for rows of one short text, keys and values otherwise."""
    text = spoken_text(source, mask)
    state.text_rows = text.rows.numpy()
    if not len(state.text_rows):
        return
    heads = layers[0].n_heads
    folded = text.tokens if text.tokens is not None and len(text.tokens) < layers[0].head_width else None
    if folded is not None:
        step = padded(len(folded), LANES)
        state.frame[f.FOLDED], state.frame[f.FOLDED_WIDE] = len(folded), step
        state.frame[f.TEXT_WIDE] = padded(heads * step, TILE)
    else:
        packed = text.source
        counts = torch.full((len(packed),), packed.shape[1])
        if text.mask is not None:  # the tokens that count go first
            order = text.mask.int().argsort(dim=1, descending=True, stable=True)
            packed = packed.gather(1, order[:, :, None].expand_as(packed))
            counts = text.mask.sum(dim=1)
        state.text_counts = counts.numpy().astype(np.int64)
        state.frame[f.TEXT_WIDE] = state.frame[f.MERGED]
        state.frame[f.TEXT_ROOMS] = padded(text.source.shape[1], LANES)
    for row, layer in zip(state.table, layers, strict=True):
        if folded is not None:
            k, v = layer.text_keys(folded[None])
            scores, values = fold_text(layer, k[0], v[0])
            ask = FusedLinear(scores, mode, head_out=len(folded))
            answer = FusedLinear(values, mode, head_in=len(folded))
            state.kept += [ask, answer]
        else:
            k, v = layer.text_keys(packed)
            row[f.TEXT_K] = state.hold(key_blocks(k, dtype))
            row[f.TEXT_V] = state.hold(value_blocks(v, dtype))
            ask, answer = layer.cross_q, layer.cross_out  # type: ignore[assignment]
        row[f.ASK_W], row[f.ASK_SCALE] = ask.addresses
        row[f.ANSWER_W], row[f.ANSWER_SCALE] = answer.addresses


def add_prefix(state: FusedState, prefix: Prefix | None, dtype: torch.dtype) -> None:
    """The gated prefix: the gate inside the values, queries in float32; `dtype` of keys and values."""
    state.prefix_of = np.full(state.batch, -1, np.int64)
    state.steered_by = parts = []
    if prefix is None:
        return

    def hold(tensor: Tensor) -> int:
        parts.append(tensor)
        return tensor.data_ptr()

    count, length = prefix.k[0].shape[0], prefix.k[0].shape[2]
    rows = np.arange(state.batch) if prefix.rows is None else prefix.rows.cpu().numpy()
    state.prefix_of[rows] = np.arange(count)
    own_rows = torch.full((count,), length) if prefix.lengths is None else prefix.lengths
    state.prefix_lengths = own_rows.cpu().numpy().astype(np.int64)
    active = torch.ones(count, length) if prefix.active is None else prefix.active.float()
    state.openness = active.cpu().contiguous().numpy()
    frame = state.frame
    frame[f.PREFIX_FIRST], frame[f.PREFIX_LIMIT] = prefix.first_layer, prefix.row_limit
    frame[f.PREFIX_COUNT], frame[f.PREFIX_ROOMS] = length, padded(length, LANES)
    frame[f.WITH_PREFIX], frame[f.PREFIX_KEPT] = 1, dtype.itemsize
    layers = zip(prefix.q, prefix.k, kept_values(prefix), strict=True)
    for row, (q, k, v) in zip(state.table[prefix.first_layer :], layers, strict=True):
        head = padded(q.shape[-1], LANES)
        own = torch.zeros(*q.shape[:3], head)
        own[..., : q.shape[-1]] = q.detach()
        row[f.PREFIX_Q] = hold(own)
        keys, k_scale = by_channel(k.detach().float(), dtype)
        values, v_scale = by_channel(v, dtype)
        row[f.PREFIX_K] = hold(key_blocks(keys, dtype))
        row[f.PREFIX_V] = hold(value_blocks(values, dtype))
        row[f.PREFIX_K_SCALE], row[f.PREFIX_V_SCALE] = hold(k_scale), hold(v_scale)
