"""`expotion doctor`: this installation and machine on one page, for a bug report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from expotion.contracts import Mode, Probed

HELP = """Describe this installation and machine, as a bug report needs it.

Versions, processor, what `auto` stands for and why, GPU, Ray, memory, disk, caches,
plugins. What was measured once is kept; --probe measures anew, best with nothing
else running.

\b
Example: expotion doctor
Example: expotion doctor --probe
"""
_PACKAGES = """torch torchvision transformers tokenizers numpy scipy av opencv-python-headless decord pluggy
pydantic typer rich"""
_OPTIONAL = {
    "numba": "the compiled step on a CPU",
    "ray": "several processes of training, clusters",
    "librosa": "its beat tracker",
    "sounddevice": "play and live",
    "huggingface_hub": "weights and adaptors from the hub",
    "wandb": "training callback",
    "tensorboard": "training callback",
}


def doctor(
    probe: Annotated[bool, typer.Option("--probe", help="Measure anew what is measured once.")] = False,
) -> None:
    """Print the page; see HELP."""
    for title, lines in (
        ("versions", _versions()),
        ("machine", _machine()),
        ("auto", _auto(anew=probe)),
        ("optional packages", _optional()),
        ("plugins", _plugins()),
    ):
        typer.echo(title)
        for line in lines:
            typer.echo(f"  {line}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> Iterator[str]:
    yield f"expotion {_version('expotion')}, Python {platform.python_version()} ({sys.executable})"
    yield ", ".join(f"{name} {_version(name)}" for name in _PACKAGES.split())


def _machine() -> Iterator[str]:
    import torch

    from expotion import machine
    from expotion.contracts import cache_folder
    from expotion.musicgen.engine.memory import size

    yield f"{platform.platform()}, {platform.machine()}"
    told = machine.processor().split()
    named = next((i for i, word in enumerate(told) if word in ("fpu", "fp")), len(told))  # where its flags begin
    flags = [
        word for word in told[named:] if word.startswith(("avx", "amx", "fma", "asimd", "sve", "bf16", "i8mm"))
    ]
    yield f"{' '.join(told[:named])}: {' '.join(flags)}"
    threads = f"{torch.get_num_threads()} threads"
    yield f"{machine.cores()} cores for us of {os.cpu_count()}, {threads}; load {_load()}"
    free = machine.free_bytes()
    yield f"memory: {'not known' if free is None else f'{size(free)} free'}"
    if torch.cuda.is_available():
        yield f"GPU: {torch.cuda.get_device_name()}, {size(machine.free_bytes('cuda') or 0)} free"
    else:
        yield f"GPU: none that torch {torch.__version__} can use"
    for what, folder in (("cache", cache_folder()), ("here", Path.cwd())):
        yield f"{what}: {folder}, {_disk(folder)}"
    for name in machine.SETTINGS.split():
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.1f}"
    except (AttributeError, OSError):
        return "not known"


def _disk(folder: Path) -> str:
    from expotion.musicgen.engine.memory import size

    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        free = size(shutil.disk_usage(there).free)
    except OSError as error:
        return str(error.strerror)
    return f"{free} free" + ("" if os.access(there, os.W_OK) else ", cannot be written to")


def _auto(*, anew: bool) -> Iterator[str]:
    """What was chosen and why, then what it was chosen from."""
    import torch

    from expotion import machine, plugins
    from expotion.musicgen.engine import choose, probed

    engines = [offer.spec for offer in plugins.discover().offers("engine").values()]
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    for device in devices if anew else []:
        machine.products(device, anew=True)
        for spec in engines:
            if spec.can_run("fp32", torch.device(device)):
                probed(spec, torch.device(device), anew=True)
    machine.decide()
    for device in devices:
        choose(torch.device(device))
        for use, one in sorted(machine.choice()[device].items()):
            taken = machine.chosen(use, device)  # type: ignore[arg-type]
            engine = f" ({one['engine']})" if "engine" in one else ""
            yield f"{use} on {device}: {one['precision']}{engine}: {'' if taken is None else taken.why}"
    if machine.AUTO in os.environ:
        return
    for device in devices:
        for kind, found in machine.products(device).items():
            yield f"{kind} on {device}: {_told(found)}"
        for spec in engines:
            if spec.probe is not None and spec.can_run("fp32", torch.device(device)):
                yield f"a step of {spec.name} on {device}: {_told(probed(spec, torch.device(device)))}"


def _told(found: Mapping[Mode, Probed]) -> str:
    return "; ".join(
        f"{mode} {1e3 * min(one.seconds):.2f} ms, error {one.error:.1g}"
        if one.seconds
        else f"{mode} not timed, error {one.error:.1g}"
        for mode, one in found.items()
    )


def _optional() -> Iterator[str]:
    for name, purpose in _OPTIONAL.items():
        yield f"{name} {_version(name) or 'not installed'} ({purpose})"


def _plugins() -> Iterator[str]:
    from expotion.plugins import discover

    for plugin in discover().plugins:
        yield f"{plugin.distribution} {plugin.version}: {plugin.name}, {plugin.error or 'ok'}"
