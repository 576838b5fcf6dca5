"""What `auto` stands for: the number type that this machine multiplies fast and right, by measurement.

Measured (probe.py) once for a processor, the share of it that we have, and its software; kept in the cache folder.
A command decides where it starts, writes down what it took (`choice`) and hands that to every process and Ray
worker (`adopt`): nothing that one command makes depends on a second measurement.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from expotion.errors import ExpotionError, OutputError, Problem
from expotion.files import cache_folder, write_json
from expotion.machine.system import cores, processor, quota, threads

if TYPE_CHECKING:  # a process that works over items starts in a quarter of the time without pydantic and numpy
    import torch

    from expotion.contracts import Mode, Probed

Use = Literal["encoders", "training", "codec", "generation"]
JUDGED_BY: dict[Use, str] = {
    "encoders": "square",
    "training": "square",
    "codec": "convolution",
    "generation": "two rows",
}
"""The product that decides for a use. For generation it counts only where an engine has no probe of its own."""
AUTO = "EXPOTION_AUTO"
"""Environment variable: the number type that `auto` stands for, everywhere; nothing is measured."""
SETTINGS = """ONEDNN_MAX_CPU_ISA DNNL_MAX_CPU_ISA ATEN_CPU_CAPABILITY MKL_ENABLE_INSTRUCTIONS NUMBA_CPU_NAME
NUMBA_CPU_FEATURES"""
Choice = dict[str, dict[str, dict[str, str]]]
"""Plain values: device -> use -> `precision`, and `engine` for generation."""


@dataclass(frozen=True)
class Chosen:
    """A number type, for generation the engine that was measured, and why."""

    precision: Mode
    engine: str | None = None
    why: str = field(default="", compare=False)


_chosen: dict[tuple[str, Use], Chosen] = {}
_handed: tuple[str, ...] | None = None
"""What this process was told by the command that it works for: then it decides nothing itself."""
_CHECKED: tuple[Use, ...] = ("encoders", "training", "codec")
"""What a product says; engines look after generation."""


def auto_precision(device: torch.device | str = "cpu", use: Use = "training") -> Mode:
    """What `auto` stands for: bf16 (on a GPU else fp16) where it is right and 1.2 times as fast, else fp32.

    Measured on the first call, unless this machine's answer is known. Raises ExpotionError in a worker that was not
    told.
    """
    kind = _kind(device)
    if kind not in ("cpu", "cuda"):
        return "fp32"
    known = chosen(use, kind)
    return (known or take(use, kind, _judge(use, products(kind), kind))).precision


def multiplies_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether products of bfloat16 matrices are right here and pay, for an encoder that is left to choose."""
    return auto_precision(device, "encoders") == "bf16"


def chosen(use: Use, device: torch.device | str = "cpu") -> Chosen | None:
    """What is decided for a use. Raises ExpotionError in a worker that was not told."""
    kind = _kind(device)
    known = _chosen.get((kind, use))
    asked = os.environ.get(AUTO)
    if known is None and asked:
        if asked not in ("fp32", "bf16", "fp16"):
            raise ExpotionError(Problem(AUTO, "fp32, bf16 or fp16", asked, f"for example {AUTO}=fp32"))
        return take(use, kind, _named(use, kind, cast("Mode", asked)))
    if known is None and _handed is not None:
        wanted = f"what auto means for {use} on {kind}, decided where the command started"
        fix = f"name a precision, or set {AUTO} there"
        raise ExpotionError(Problem(f"host {platform.node()}", wanted, ", ".join(_handed) or "nothing", fix))
    return known


def take(use: Use, device: torch.device | str, one: Chosen) -> Chosen:
    """Decide for a use, for as long as this process lives."""
    return _chosen.setdefault((_kind(device), use), one)


def decide() -> None:
    """Decide all but generation, for every device here: a command's first step."""
    import torch  # noqa: PLC0415

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for use in _CHECKED:
            auto_precision(device, use)


def choice() -> Choice:
    """What has been decided so far, as plain values."""
    plain: Choice = {}
    for (kind, use), one in sorted(_chosen.items()):
        engine = {} if one.engine is None else {"engine": one.engine}
        plain.setdefault(kind, {})[use] = {"precision": one.precision, **engine}
    return plain


def adopt(given: Choice, *, handed: bool = False, where: str = "auto") -> None:
    """Take over what was decided before; `handed`: by the command that this process works for, which decides all.

    Raises ExpotionError, which names this host, where a type that was chosen is wrong here, and `where` the choice
    was read where it is none.
    """
    global _handed  # noqa: PLW0603 - what a process was told holds for all of it
    try:
        taken = {
            (kind, use): Chosen(cast("Mode", one["precision"]), one.get("engine"), "decided before")
            for kind, uses in given.items()
            for use, one in uses.items()
        }
        if unknown := [one.precision for one in taken.values() if one.precision not in _modes()]:
            raise ValueError(unknown[0])
    except (AttributeError, LookupError, TypeError, ValueError):
        wanted = f"{', '.join(_modes())} by device and use"
        raise ExpotionError(Problem(where, wanted, json.dumps(given)[:60], "remove `auto` there")) from None
    if handed:
        _handed = tuple(f"{use} on {kind}" for kind, use in taken)
    for (kind, use), one in taken.items():
        if kind == "cpu":
            _check(cast(Use, use), one.precision)
        _chosen[kind, cast(Use, use)] = one


def forget() -> None:
    """Decide anew when asked next."""
    global _handed  # noqa: PLW0603
    _chosen.clear()
    _handed = None


def _named(use: Use, device: str, precision: Mode) -> Chosen:
    """What AUTO names; fp32 for a use for which that is wrong here."""
    why = f"{AUTO}={precision}"
    wrong = _wrong(use, precision) if device == "cpu" else ""
    return Chosen("fp32", why=f"{why} is wrong here: {wrong}") if wrong else Chosen(precision, why=why)


def _modes() -> tuple[str, ...]:
    from expotion.contracts import Mode  # noqa: PLC0415

    return get_args(Mode)


def _check(use: Use, precision: Mode) -> None:
    if wrong := _wrong(use, precision):
        wanted = f"{precision} products as near to fp32 as {use}, for which it was chosen, needs them"
        fix = "leave this host out, or name fp32"
        raise ExpotionError(Problem(f"host {platform.node()}", wanted, wrong, fix))


def _wrong(use: Use, precision: Mode) -> str:
    """How wrong a type is for a use on this processor, in words; empty where it is right or cannot be asked."""
    if use not in _CHECKED or precision == "fp32":
        return ""
    from expotion.machine import probe  # noqa: PLC0415 - torch

    kind = JUDGED_BY[use]
    error = probe.error_of(precision, kind)
    return "" if error <= probe.RIGHT[kind] else f"an error of {error:.2g}, {probe.RIGHT[kind]:g} is allowed"


def _kind(device: torch.device | str) -> str:
    return str(device).partition(":")[0]


def _judge(use: Use, found: Mapping[str, Mapping[Mode, Probed]], device: str) -> Chosen:
    from expotion.machine import probe  # noqa: PLC0415

    kind = JUDGED_BY[use]
    return best_of(found[kind], device, probe.RIGHT[kind], f"{kind}: ")


def best_of(
    probed: Mapping[Mode, Probed], device: str, right: float, told: str = "", engine: str | None = None
) -> Chosen:
    """The first of bf16 and, on a GPU, fp16 that is right and fast enough, else fp32, with the reasons."""
    from expotion.machine import probe  # noqa: PLC0415

    reasons = []
    candidates: tuple[Mode, ...] = ("bf16", "fp16") if device == "cuda" else ("bf16",)
    for mode in candidates:
        good, why = probe.judged(probed, mode, right)
        reasons.append(why)
        if good:
            return Chosen(mode, engine, told + why)
    return Chosen("fp32", engine, told + "; ".join(reasons))


def products(device: str = "cpu", *, anew: bool = False) -> dict[str, dict[Mode, Probed]]:
    """What probe.py finds on a device, kept."""
    from expotion.machine import probe  # noqa: PLC0415

    return kept(f"products on {device}", lambda: probe.products(device), anew=anew)


def kept(
    name: str,
    measure: Callable[[], dict[str, dict[Mode, Probed]]],
    *,
    versions: Mapping[str, str] | None = None,
    anew: bool = False,
) -> dict[str, dict[Mode, Probed]]:
    """A measurement from the cache folder, made (and put there) where this machine's is not in it.

    It is another one with another processor, share of it, number of threads, torch, numba or `versions`.
    """
    from expotion.contracts import Probed  # noqa: PLC0415

    about = {"what": name, **_facts(), **(versions or {})}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / "machine" / f"{digest}.json"
    if not anew:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            content = json.loads(path.read_text(encoding="utf-8"))["probed"]
            return {
                kind: {mode: Probed(tuple(one["seconds"]), float(one["error"])) for mode, one in modes.items()}
                for kind, modes in content.items()
            }
    found = measure()
    plain = {
        kind: {mode: {**asdict(one), "error": one.error if one.error < 1e9 else 1e9} for mode, one in modes.items()}
        for kind, modes in found.items()
    }
    with contextlib.suppress(OutputError):  # then it is measured by every command
        write_json(path, {"about": about, "probed": plain})
    return found


def _facts() -> dict[str, Any]:
    """What a measurement depends on."""
    import importlib.metadata  # noqa: PLC0415

    import torch  # noqa: PLC0415

    versions = {}
    for name in ("torch", "numba"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": cores(),
        "quota": quota(),
        "threads": [threads(), torch.get_num_threads()],
        "versions": versions,
        "settings": {name: os.environ[name] for name in SETTINGS.split() if name in os.environ},
    }


# What the processor and torch say they have, for what must not depend on a measurement


def computes_bfloat16() -> bool:
    """Whether the processor has any instructions for bfloat16, whatever they are worth.

    For what the bytes of a precision named by hand depend on, which no measurement may change.
    """
    import torch  # noqa: PLC0415

    cpu: Any = torch.cpu
    if not hasattr(cpu, "get_capabilities"):  # torch 2.6
        return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    found: Mapping[str, Any] = cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this 16-bit type in its own layout here."""
    import torch  # noqa: PLC0415

    if not torch._C._has_mkldnn:
        return False
    operators: Any = torch.ops.mkldnn
    if dtype == torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())
    return dtype == torch.float16 and bool(operators._is_mkldnn_fp16_supported())
