"""Generation at the speed of reading the weights: `prepare` makes an engine of a language model.

weights.py   matrices as each precision reads them
layer.py     a layer of packed matrices, which also serves the adaptor's prefix stream
text.py      cross-attention for a text that does not change: made once, folded where that is shorter
step.py      start and step; the cache, the prefix, memory
cuda.py      steps replayed from a CUDA graph

Plugins announce engines of their own (`expotion_engines`); `expotion-fast` brings a step compiled for CPUs.
"""

from __future__ import annotations

import logging
import platform
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from expotion import machine, plugins
from expotion.contracts import EngineSpec, Mode, Probed, hookimpl
from expotion.errors import ExpotionError, Problem, in_short

if TYPE_CHECKING:
    import torch

    from expotion.musicgen.decoder import MusicGenLM
    from expotion.musicgen.engine.step import Engine

log = logging.getLogger("expotion")
TRIED: dict[str, tuple[Mode, ...]] = {"cpu": ("fp32", "bf16", "int8"), "cuda": ("fp32", "bf16", "fp16")}
"""What an engine is probed in. int8 is taken by name only."""
RIGHT = 0.05
"""Largest error of a probed step's logits with which a mode is taken; bf16 has 0.01."""


def prepare(lm: MusicGenLM, mode: Mode | Literal["auto"] | str = "auto") -> Engine:
    """An engine on the model's device, of those installed that can run: the one with the highest priority.

    `auto` is the mode that was measured to be fast and right here (`choose`). The model itself is no longer needed.
    One thread at a time may use the engine. Raises ExpotionError where the machine cannot run the mode, or where
    the packed weights do not fit into memory.
    """
    spec, chosen = choose(lm.device) if mode == "auto" else (_able(cast("Mode", mode), lm.device)[0], mode)
    engine: Engine = spec.build(lm, cast("Mode", chosen))
    return engine


def choose(device: torch.device) -> tuple[EngineSpec, Mode]:
    """Engine and mode that `auto` stands for: decided before, or now, by each engine's own step.

    The engine of the highest priority is taken whose float32 is right. What it compiles is compiled here. Raises
    ExpotionError, which names this host, where an engine that was chosen elsewhere is missing or wrong.
    """
    known = machine.chosen("generation", device)
    if known is None:
        for spec in _able("fp32", device):
            found = probed(spec, device)
            if found["fp32"].error <= RIGHT:
                known = machine.best_of(found, device.type, RIGHT, f"{spec.name}: ", spec.name)
                return spec, machine.take("generation", device, known).precision
        raise ExpotionError(
            Problem("engines", "one whose float32 is right here", "none", "expotion doctor --probe")
        )
    mode = known.precision
    if known.engine is None:
        return _able(mode, device)[0], mode
    chosen = next((each for each in _able(mode, device) if each.name == known.engine), None)
    where, wanted = f"host {platform.node()}", f"the engine {known.engine!r} in {mode}, which was chosen"
    if chosen is None:
        raise ExpotionError(Problem(where, wanted, "none that can run", "install it here, or name a precision"))
    error = probed(chosen, device)[mode].error if mode in TRIED[device.type] else 0.0
    if not error <= RIGHT:
        fix = "leave this host out, or name a precision"
        raise ExpotionError(Problem(where, f"{wanted}, within {RIGHT:g} of fp32", f"an error of {error:.2g}", fix))
    return chosen, mode


def compile_ahead(device: str = "cpu") -> None:
    """Have the engine that will be taken compile what it compiles, or find it on disk, in a thread beside."""
    import torch  # noqa: PLC0415

    best = next(iter(_able("fp32", torch.device(device))), None)
    if best is not None and best.compile is not None:
        threading.Thread(target=_compiled, args=(best.compile,), daemon=True, name="expotion-compile").start()


def _compiled(compile_: Callable[[], object]) -> None:
    try:
        compile_()
    except Exception as error:  # the first step says it again, where somebody listens
        log.debug("compiling ahead: %s", in_short(error))


def probed(spec: EngineSpec, device: torch.device, *, anew: bool = False) -> Mapping[Mode, Probed]:
    """What an engine's own step takes here in each mode; without a probe, a product of two rows."""
    if spec.probe is None:
        return machine.products(device.type, anew=anew)["two rows"]
    modes = [mode for mode in TRIED[device.type] if spec.can_run(mode, device)]
    probe = spec.probe
    versions = {"engine": _version(spec)}
    name = f"engine {spec.name} on {device.type}"
    return machine.kept(name, lambda: {"step": dict(probe(modes, device))}, versions=versions, anew=anew)["step"]


def _able(mode: Mode, device: torch.device) -> list[EngineSpec]:
    """Engines that can run a mode, the best first."""
    specs = (offer.spec for offer in plugins.discover().offers("engine").values())
    return sorted((s for s in specs if s.can_run(mode, device)), key=lambda spec: (-spec.priority, spec.name))


def _version(spec: EngineSpec) -> str:
    offer = plugins.discover().offers("engine").get(spec.name)
    return "" if offer is None else f"{offer.distribution} {offer.version}"


def _probe_plain(modes: Any, device: torch.device) -> Mapping[Mode, Probed]:
    from expotion.musicgen.engine.probe import probe_steps  # noqa: PLC0415

    return probe_steps(_plain, [mode for mode in modes if mode != "int8" or _has_int8(device)], device)


def _has_int8(device: torch.device) -> bool:
    from expotion.musicgen.engine.weights import int8_fits  # noqa: PLC0415

    return int8_fits(device)


def _probe_graphs(modes: Any, device: torch.device) -> Mapping[Mode, Probed]:
    from expotion.musicgen.engine.probe import probe_steps  # noqa: PLC0415

    return probe_steps(_graphs, modes, device)


def _plain(lm: Any, mode: Mode) -> Engine:
    from expotion.musicgen.engine.step import Engine  # noqa: PLC0415 - what is announced is light

    return Engine(lm, mode)


def _graphs(lm: Any, mode: Mode) -> Engine:
    from expotion.musicgen.engine.cuda import GraphEngine  # noqa: PLC0415

    # it knows no rows before the music, which melody models have
    return GraphEngine(lm, mode) if lm.geometry.chroma is None else _plain(lm, mode)


@hookimpl
def expotion_engines() -> list[EngineSpec]:
    """Torch's own operations, for any machine; on a GPU replayed from a CUDA graph."""
    return [
        EngineSpec("plain", "torch's own operations", lambda mode, device: True, _plain, 0, _probe_plain),
        EngineSpec(
            "graphs",
            "steps replayed from a CUDA graph",
            lambda mode, device: device.type == "cuda",
            _graphs,
            10,
            _probe_graphs,
        ),
    ]
