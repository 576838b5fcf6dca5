"""The engine: what `MusicGenLM.start` and `step` compute, with everything but reading the weights cut down.

Made once per clip: the text's keys and values (or what they fold into), the prefix, the caches, the positions.
Per step and layer: four packed matrices, one cache write, one attention, the text's branch for rows that have a
text, the prefix's term for rows that have a prefix. The residual stream is float32 in every mode.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from expotion.backbone.decoder import GatedPrefix, MusicGenLM
from expotion.backbone.engine import memory, pages
from expotion.backbone.engine.cache import Cursor, Slice
from expotion.backbone.engine.int8 import check_mode
from expotion.backbone.engine.layer import EngineLayer
from expotion.backbone.engine.prefix import PrefixState
from expotion.backbone.engine.text import TextState
from expotion.backbone.engine.weights import DTYPES, Linear, Mode, Norm, Pack, pack_normed
from expotion.backbone.engine.weights import pack as plain_pack
from expotion.backbone.geometry import LMGeometry
from expotion.backbone.positions import sinusoid
from expotion.errors import ExpotionError


class Position(Protocol):
    """How far a state has come."""

    position: int
    n_positions: int


@dataclass
class EngineState:
    """What generation keeps between steps. caches: per layer [2, B, h, P, c], keys then values."""

    position: int
    n_positions: int
    caches: list[Tensor]
    positions: Tensor
    text: TextState
    prefix: PrefixState | None


class Engine:
    """A `StepModel` over packed weights. It also serves the adaptor's prefix stream, so the model it was made from
    can be dropped."""

    def __init__(self, lm: MusicGenLM, mode: Mode, pack: Pack = plain_pack) -> None:
        """Pack the weights of `lm`. ExpotionError where the machine cannot run `mode` or lacks the memory."""
        check_mode(mode, lm.device)
        shared = pack is plain_pack and mode == "fp32" and lm.dtype == torch.float32
        memory.check(
            0 if shared else memory.weight_bytes(lm.geometry, mode),
            lm.device,
            f"the model's weights in {mode}",
            "a smaller model, or a precision of fewer bits (bf16 halves fp32, int8 halves bf16)",
        )
        self.mode = mode
        self.geometry: LMGeometry = lm.geometry
        self.device = lm.device
        self.dtype = DTYPES.get(mode) or (torch.bfloat16 if _cpu_has_bf16() else torch.float32)
        k, card = self.geometry.n_codebooks, self.geometry.card
        self._table = lm.embedding.weight.detach().to(self.dtype)
        self._offset = torch.arange(k, device=self.device)[:, None] * (card + 1)
        self.layers = [EngineLayer(lm.block(index), mode, pack) for index in range(self.geometry.n_layers)]
        self.output_heads: Linear = pack(lm.output_heads.weight, mode)
        self.norm_out = Norm(lm.norm_out)
        self._logits = pack_normed(self.norm_out, self.output_heads)
        self._text_projection = None if lm.text_projection is None else deepcopy(lm.text_projection).float()
        pages.use_huge_pages(self.device)

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

    def project_text(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """As `MusicGenLM.project_text`, in float32: [B, L, text_width] and mask [B, L] to [B, L, d]."""
        source = hidden.to(self.device, torch.float32)
        if self._text_projection is not None:
            source = self._text_projection(source)
        return source * mask.to(source)[:, :, None]

    def null_text(self, batch: int, length: int) -> Tensor:
        """The source of an absent text: zeros [batch, length, d]."""
        return torch.zeros(batch, length, self.geometry.width, dtype=self.dtype, device=self.device)

    def check_state(self, source: Tensor, n_positions: int, prefix: GatedPrefix | None) -> None:
        """ExpotionError where a state makes no sense or does not fit into memory."""
        if n_positions < 1:
            raise ExpotionError(f"n_positions must be at least 1, got {n_positions}")
        batch, length = source.shape[:2]
        prefix_rows = 0 if prefix is None else prefix.k[0].shape[0] * prefix.k[0].shape[2]
        memory.check(
            memory.state_bytes(self.geometry, self.dtype, batch, n_positions, length, prefix_rows),
            self.device,
            f"{n_positions} positions of {batch} rows in {self.mode}",
            "a shorter window, a smaller batch, bf16 or int8 instead of fp32, or a smaller model",
        )

    @torch.inference_mode()
    def start(
        self,
        source: Tensor,
        n_positions: int,
        prefix: GatedPrefix | None = None,
        *,
        source_mask: Tensor | None = None,
    ) -> EngineState:
        """State for generating up to `n_positions` steps after a text source [B, L, d]."""
        self.check_state(source, n_positions, prefix)
        batch, geometry = source.shape[0], self.geometry
        shape = (2, batch, geometry.n_heads, n_positions, geometry.head_width)
        table = sinusoid(0, n_positions, geometry.width, self.dtype)
        state = EngineState(
            position=0,
            n_positions=n_positions,
            caches=[torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in self.layers],
            positions=table.to(self.device, torch.float32),
            text=TextState(self.layers, source.to(self.device), source_mask, self.dtype),
            prefix=None if prefix is None else PrefixState(prefix, self.dtype, self.device),
        )
        pages.use_huge_pages(self.device)
        return state

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: EngineState) -> Tensor:
        """Feed the next tokens, [B, K] or [B, K, S] (S > 1 only as the first call); logits of the last, float32.

        [B, K, V]. Advances `state.position`.
        """
        if tokens.dim() == 2:
            tokens = tokens[:, :, None]
        start, length = state.position, tokens.shape[2]
        check_room(state, length)
        cursor = Slice(start, start + length)
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

    def advance(
        self, tokens: Tensor, state: EngineState, cursor: Cursor, prefix: PrefixState | None
    ) -> Tensor:
        """The arithmetic of a step on tokens [B, K, S], wherever `cursor` says it stands."""
        x = self.embed(tokens).add_(cursor.positions(state.positions))
        batch, length, width = x.shape
        for index, layer in enumerate(self.layers):
            fused = layer.normed_qkv(x).view(batch, length, 3, layer.n_heads, layer.head_width)
            q = fused[:, :, 0].transpose(1, 2).to(self.dtype)
            attended = cursor.attend(q, fused, state.caches[index])
            if prefix is not None:
                prefix.add_to(attended, q, index, cursor)
            layer.out.add_to(x, attended.transpose(1, 2).reshape(batch, length, width))
            state.text.add_to(x, layer, index)
            layer.add_ffn(x)
        flat = self._logits(x[:, -1])
        return flat.float().view(batch, self.geometry.n_codebooks, self.geometry.card)


def check_room(state: Position, length: int) -> None:
    """ExpotionError unless `length` more positions can be fed."""
    if state.position + length > state.n_positions or (length > 1 and state.position > 0):
        raise ExpotionError(
            f"cannot feed {length} steps at position {state.position} of {state.n_positions}: "
            "a prompt goes in first, then one step at a time"
        )


def _cpu_has_bf16() -> bool:
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))
