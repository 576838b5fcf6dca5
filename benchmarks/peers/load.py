"""What a benchmark says of where it ran, and whether something else ran beside it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from expotion import machine

Result = TypeVar("Result")
MOST = 0.15
"""Cores that others may use while something is timed; a timing beside more is made again."""
LIMIT_S = 330.0
"""After this long nothing is begun again: a benchmark ends within six minutes."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_STARTED = time.monotonic()
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "avx512_fp16",
    "asimd",
    "bf16",
    "i8mm",
)


def about() -> dict[str, Any]:
    """Processor, its flags that matter, cores, threads, and settings that hide some of it."""
    words = machine.processor().split()
    flags = [name for name in _FLAGS if name in words]
    name = " ".join(words[: next((i for i, word in enumerate(words) if word in ("fpu", "fp")), 8)])
    settings = {name: os.environ[name] for name in machine.SETTINGS.split() if name in os.environ}
    return {
        "processor": name,
        "flags": flags,
        "cores": machine.cores(),
        "threads": torch.get_num_threads(),
        "settings": settings,
    }


class Watch:
    """How many cores others use, from its making on; None where the system does not tell."""

    def __init__(self) -> None:
        self._before = (_busy_s(), _own_s(), time.monotonic())

    def others(self) -> float | None:
        """Cores in use by processes that are not ours, on average so far; what the host took away counts too."""
        busy, own, started = self._before
        now = _busy_s()
        if busy is None or now is None:
            return None
        return max(0.0, (now - busy - (_own_s() - own)) / max(1e-3, time.monotonic() - started))


def _busy_s() -> float | None:
    """Processor seconds of everything on this machine, and those that the host has taken."""
    try:
        numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _, _, irq, softirq, steal = (numbers + [0] * 8)[:8]
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def _own_s() -> float:
    """Processor seconds of this process and all below it, those that have ended included."""
    rows: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        rows[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15])) / _TICKS_PER_S
    ours, total = {os.getpid()}, 0.0
    grew = True
    while grew:
        more = {pid for pid, (parent, _) in rows.items() if parent in ours} - ours
        ours |= more
        grew = bool(more)
    for pid in ours:
        total += rows.get(pid, (0, 0.0))[1]
    return total


def time_for(seconds: float, share: float = 1.0) -> bool:
    """Whether something that takes so long still ends in time, or in the first `share` of it."""
    return time.monotonic() - _STARTED + seconds <= LIMIT_S * share


def undisturbed(
    what: str, run: Callable[[], Result], notes: list[str], *, tries: int = 3, better: Callable[[Result], float]
) -> Result:
    """A run beside little else: made again where others were at work, as long as there is time; the best of them.

    `better` gives what is compared, less is better. What could not be had quiet is said in `notes`.
    """
    found: list[tuple[float, Result]] = []
    for left in reversed(range(tries)):
        watch, started = Watch(), time.monotonic()
        result = run()
        others = watch.others()
        found.append((better(result), result))
        if others is None or others <= MOST:
            return min(found, key=lambda one: one[0])[1]
        took = time.monotonic() - started
        if not left or not time_for(took):
            break
        print(f"{what}: others used {others:.1f} cores; once more", file=sys.stderr, flush=True)
    notes.append(f"{what}: others used {others:.1f} cores" if others is not None else f"{what}: load not known")
    return min(found, key=lambda one: one[0])[1]
