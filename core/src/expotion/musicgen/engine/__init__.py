"""Generation at the speed of reading the weights: `prepare` makes a `StepModel` of a language model.

weights.py   matrices as each precision reads them; int8.py has weight-only int8
layer.py     a layer of packed matrices, which also serves the adaptor's prefix stream
text.py      cross-attention for a text that does not change: made once, folded where that is shorter
prefix.py    the gated prefix, laid out once
cache.py     self-attention's cache and where in it a step stands
step.py      start and step
cuda.py      steps replayed from a CUDA graph
fused/       on a CPU with numba (the extra `fast`): a step as one compiled function
memory.py    does it fit, before anything is allocated; pages.py: huge pages
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from expotion.machine import auto_precision

if TYPE_CHECKING:
    from expotion.musicgen.decoder import MusicGenLM
    from expotion.musicgen.engine.step import Engine
    from expotion.musicgen.engine.weights import Mode

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]


def prepare(lm: MusicGenLM, mode: Precision | str = "auto") -> Engine:
    """An engine on the model's device. The model itself is no longer needed.

    One thread at a time may use it. Raises ExpotionError where the machine cannot run the mode, or where the
    packed weights do not fit into memory.
    """
    import expotion_fast as fused  # noqa: PLC0415
    from expotion.musicgen.engine.step import Engine  # noqa: PLC0415

    chosen = auto_precision(lm.device) if mode == "auto" else cast("Mode", mode)
    if lm.device.type == "cuda":
        from expotion.musicgen.engine.cuda import GraphEngine  # noqa: PLC0415

        return GraphEngine(lm, chosen)
    if fused.can_run(chosen, lm.device):
        from expotion_fast.engine import FusedEngine  # noqa: PLC0415

        return FusedEngine(lm, chosen)
    return Engine(lm, chosen)
