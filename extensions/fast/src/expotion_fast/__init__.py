"""A step of the decoder as one compiled function: numba brings the compiler, no user needs one."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from expotion.contracts import EngineSpec, Mode, hookimpl
from expotion.machine import multiplies_bytes

if TYPE_CHECKING:
    import torch

    from expotion_fast.engine import FusedEngine


def can_run(mode: Mode, device: torch.device) -> bool:
    """Whether this machine has what the kernels take: numba, and for int8 a processor with AVX-512 VNNI."""
    if device.type != "cpu" or mode == "fp16" or find_spec("numba") is None:
        return False
    return mode != "int8" or multiplies_bytes()


def _build(lm: Any, mode: Mode) -> FusedEngine:
    from expotion_fast.engine import FusedEngine

    return FusedEngine(lm, mode)


@hookimpl
def expotion_engines() -> list[EngineSpec]:
    """The compiled step."""
    return [EngineSpec("fused", "a step compiled for this processor", can_run, _build)]
