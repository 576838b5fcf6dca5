"""A step of the decoder as one compiled function: numba brings the compiler, no user needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from expotion.contracts import EngineSpec, Mode, Probed, hookimpl

if TYPE_CHECKING:
    import torch

    from expotion.musicgen.engine.step import Engine


def can_run(mode: Mode, device: torch.device) -> bool:
    """Whether there is what the kernels take: numba, on a CPU."""
    return device.type == "cpu" and mode != "fp16" and find_spec("numba") is not None


def _build(lm: Any, mode: Mode) -> Engine:
    from expotion.musicgen.engine.step import Engine
    from expotion_fast.engine import FusedEngine

    if lm.geometry.chroma is not None:  # the compiled step knows no rows before the music
        return Engine(lm, mode)
    return FusedEngine(lm, mode)


def _probe(modes: Sequence[Mode], device: torch.device) -> Mapping[Mode, Probed]:
    from expotion.musicgen.engine.probe import probe_steps

    return probe_steps(_build, modes, device)


def _compile() -> None:
    from expotion_fast.warm import compile_all

    compile_all()


@hookimpl
def expotion_engines() -> list[EngineSpec]:
    """The compiled step."""
    about = "a step compiled for this processor"
    return [EngineSpec("fused", about, can_run, _build, probe=_probe, compile=_compile)]
