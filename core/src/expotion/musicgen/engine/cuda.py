"""Steps on a GPU as one CUDA graph: recorded at the first step of a shape, replayed from then on.

A graph repeats the same kernels on the same memory, so the position is a tensor on the device (`step.Pointer`),
attention runs over all rooms under a mask, and tokens go in and logits come out through fixed buffers. A clip of
the same shape (rows, positions, text length, prefix) as the one before reuses its graph: its own text, prefix and
caches are copied into the recorded buffers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from expotion.musicgen.engine.step import Engine, EngineState, Pointer
from expotion.musicgen.gate import Prefix

WARM_UP = 2
"""Steps run outside the graph first, so that libraries choose their kernels."""


class StaticStep:
    """A step of fixed shape: everything that changes is the content of a buffer. Runs on any device."""

    def __init__(self, engine: Engine, state: EngineState) -> None:
        rows = state.caches[0].shape[1]
        shape = (rows, engine.geometry.n_codebooks, 1)
        self.tokens = torch.zeros(shape, dtype=torch.int64, device=engine.device)
        self.pointer = Pointer(state.n_positions, engine.device)
        self._engine, self._state = engine, state

    @torch.inference_mode()
    def place(self, tokens: Tensor, position: int) -> None:
        """Put the inputs of one step into the buffers."""
        self.tokens.copy_(tokens)
        self.pointer.position.fill_(position)

    @torch.inference_mode()
    def run(self) -> Tensor:
        """The step itself: logits [B, K, V]."""
        self.pointer.prepare()
        return self._engine.advance(self.tokens, self._state, self.pointer, self._state.prefix)


@dataclass
class GraphState(EngineState):
    """A state that also holds the recorded step, once there is one."""

    static: StaticStep | None = None
    graph: torch.cuda.CUDAGraph | None = None
    logits: Tensor | None = None


class GraphEngine(Engine):
    """An `Engine` whose single steps are replayed from a CUDA graph. One clip at a time."""

    _kept: GraphState | None = None

    @torch.inference_mode()
    def start(
        self, source: Tensor, n_positions: int, prefix: Prefix | None = None, *, source_mask: Tensor | None = None
    ) -> GraphState:
        """As the engine's; takes over the graph of the clip before where the shapes agree."""
        fresh = super().start(source, n_positions, prefix, source_mask=source_mask)
        kept = self._kept
        if kept is not None and _signature(kept) == _signature(fresh):
            for old, new in zip(_tensors(kept), _tensors(fresh), strict=True):
                old.copy_(new)
            kept.position = 0
            return kept
        self._kept = GraphState(**vars(fresh))
        self._kept.static = StaticStep(self, self._kept)
        return self._kept

    @torch.inference_mode()
    def steer(self, state: EngineState, prefix: Prefix) -> None:
        """As the engine's, into the recorded buffers."""
        recorded = state.prefix
        super().steer(state, prefix)
        if recorded is not None and state.prefix is not None:
            for old, new in zip(recorded.tensors(), state.prefix.tensors(), strict=True):
                old.copy_(new)
            state.prefix = recorded

    @torch.inference_mode()
    def step(self, tokens: Tensor, state: EngineState) -> Tensor:
        """As the engine's: a prompt runs as it is, single steps are replayed."""
        single = tokens.dim() == 2 or tokens.shape[2] == 1
        if not isinstance(state, GraphState) or state.static is None or not single:
            return super().step(tokens, state)
        state.check_room(1)
        state.static.place(tokens.reshape(*tokens.shape[:2], 1), state.position)
        if state.graph is None:
            state.graph, state.logits = _record(state.static)
        state.graph.replay()
        state.position += 1
        assert state.logits is not None
        return state.logits.clone()


def _record(step: StaticStep) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Record the step; writing the same cache rooms again changes nothing."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step.run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = step.run()
    return graph, logits


def _tensors(state: EngineState) -> Iterator[Tensor]:
    """Every tensor that a step reads and a clip changes."""
    yield from state.caches
    yield from state.text.tensors()
    if state.prefix is not None:
        yield from state.prefix.tensors()


def _signature(state: EngineState) -> tuple[object, ...]:
    """What must agree for one clip's graph to serve another."""
    prefix = state.prefix
    return (
        state.n_positions,
        tuple(tuple(tensor.shape) for tensor in _tensors(state)),
        str(state.text.rows),
        None if prefix is None else (prefix.first_layer, prefix.row_limit, str(prefix.rows)),
    )
