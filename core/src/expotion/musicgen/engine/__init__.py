"""Generation at the speed of reading the weights: `prepare` makes an engine of a language model.

weights.py   matrices as each precision reads them
layer.py     a layer of packed matrices, which also serves the adaptor's prefix stream
text.py      cross-attention for a text that does not change: made once, folded where that is shorter
step.py      start and step; the cache, the prefix, memory
cuda.py      steps replayed from a CUDA graph

Plugins announce engines of their own (`expotion_engines`); `expotion-fast` brings a step compiled for CPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from expotion import plugins
from expotion.contracts import EngineSpec, Mode, hookimpl
from expotion.machine import auto_precision

if TYPE_CHECKING:
    from expotion.musicgen.decoder import MusicGenLM
    from expotion.musicgen.engine.step import Engine


def prepare(lm: MusicGenLM, mode: Mode | Literal["auto"] | str = "auto") -> Engine:
    """An engine on the model's device, of those installed that can run: the one with the highest priority.

    The model itself is no longer needed. One thread at a time may use the engine. Raises ExpotionError where the
    machine cannot run the mode, or where the packed weights do not fit into memory.
    """
    chosen = auto_precision(lm.device) if mode == "auto" else cast("Mode", mode)
    specs = (offer.spec for offer in plugins.discover().offers("engine").values())
    fitting = [spec for spec in specs if spec.can_run(chosen, lm.device)]
    best = min(fitting, key=lambda spec: (-spec.priority, spec.name))
    engine: Engine = best.build(lm, chosen)
    return engine


def _plain(lm: Any, mode: Mode) -> Engine:
    from expotion.musicgen.engine.step import Engine  # noqa: PLC0415 - what is announced is light

    return Engine(lm, mode)


def _graphs(lm: Any, mode: Mode) -> Engine:
    from expotion.musicgen.engine.cuda import GraphEngine  # noqa: PLC0415

    return GraphEngine(lm, mode)


@hookimpl
def expotion_engines() -> list[EngineSpec]:
    """Torch's own operations, for any machine; on a GPU replayed from a CUDA graph."""
    return [
        EngineSpec("plain", "torch's own operations", lambda mode, device: True, _plain, priority=0),
        EngineSpec(
            "graphs",
            "steps replayed from a CUDA graph",
            lambda mode, device: device.type == "cuda",
            _graphs,
            priority=10,
        ),
    ]
