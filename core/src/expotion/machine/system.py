"""Cores, memory, the processor's name. A container's limits count, not what its host has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_GROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a small file of the system; none where it is missing or says `max`."""
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split() if word.lstrip("-").isdigit()]
    except (OSError, ValueError):
        return []


# Cores


def cores() -> int:
    """Cores that this process may use: of its affinity and, in a container, of its quota (rounded up)."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = quota()
    if len(share) != 2 or min(share) <= 0:
        return here
    return max(1, min(here, -(-share[0] // share[1])))


def quota() -> list[int]:
    """A container's share of the processors: (work, period); anything else where there is none."""
    share = _numbers(_GROUPS / "cpu.max")  # microseconds of work in each period of so many
    if len(share) != 2:
        share = [
            number
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            for number in _numbers(_GROUPS / "cpu" / name)
        ]
    return share


def processor() -> str:
    """The processor's name and its instructions, as the system tells them."""
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "flags", "Features", "CPU implementer", "CPU part"):
            told.setdefault(name.strip(), value.strip())
    return " ".join([platform.machine(), *told.values()])


# Threads
#
# What torch and OpenCV compute depends on their number of threads: sums are split, other kernels are chosen, the
# ends of stretches go another way. Inside `steady` they have one, and the same input gives the same bytes on any
# number of cores. Code whose results do not depend on threads (a compiled step) asks `threads` how many it may use.
# Blocks may lie in each other, and be open in several threads of Python at once.

_steady: list[tuple[int, int]] = []
"""Threads of torch and of OpenCV from before the blocks that are open."""
_steady_lock = threading.Lock()


@contextlib.contextmanager
def steady(wanted: bool = True) -> Iterator[None]:
    """Torch and OpenCV on one thread, where that is wanted: results then do not depend on how many there are."""
    if not wanted:
        yield
        return
    import cv2  # noqa: PLC0415
    import torch  # noqa: PLC0415

    with _steady_lock:
        _steady.append((threads(), _steady[0][1] if _steady else cv2.getNumThreads()))
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _steady_lock:
            of_torch, of_opencv = _steady.pop()
            if not _steady:
                torch.set_num_threads(of_torch)
                cv2.setNumThreads(of_opencv)


def threads() -> int:
    """Threads that this process computes with: torch's own number, inside `steady` that from before."""
    import torch  # noqa: PLC0415

    return _steady[0][0] if _steady else torch.get_num_threads()


@cache
def helpers(count: int) -> ThreadPoolExecutor:
    """`count` kept threads, for parts of a calculation beside the caller's own."""
    return ThreadPoolExecutor(count, thread_name_prefix="expotion-part")


def in_parts(function: Callable[[int, int], torch.Tensor], total: int, dim: int) -> torch.Tensor:
    """function(first, end) of stretches of 0..total, joined along `dim`: as many as give torch its threads in each.

    Within `steady` on several cores there are several. For what is the same bytes however it is cut.
    """
    import torch  # noqa: PLC0415

    parts = min(total, threads() // torch.get_num_threads())
    if parts < 2:
        return function(0, total)
    ends = [total * part // parts for part in range(parts + 1)]
    others = [helpers(parts - 1).submit(function, *ends[i : i + 2]) for i in range(1, parts)]
    return torch.cat([function(*ends[:2]), *(other.result() for other in others)], dim=dim)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=helpers.cache_clear)  # threads do not outlive a fork


# Memory


def free_bytes(device: torch.device | str = "cpu") -> int | None:
    """Memory that this process can still have on a device; None where the system does not say.

    On the CPU the least of what the machine has available, what is left to the process's control group (a
    container), and what is left of its own limit (`ulimit -v`).
    """
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        import torch  # noqa: PLC0415

        return int(torch.cuda.mem_get_info(device)[0])
    if kind != "cpu":
        return None
    found = [_available_bytes(), _group_bytes(), _limit_bytes()]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def _available_bytes() -> int | None:
    try:
        for line in (_PROC / "meminfo").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return int(rest.split()[0]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return None


def _group_bytes() -> int | None:
    limit, used = _numbers(_GROUPS / "memory.max"), _numbers(_GROUPS / "memory.current")
    return max(0, limit[0] - used[0]) if limit and used else None


def _limit_bytes() -> int | None:
    try:
        import resource  # noqa: PLC0415 - not on Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return None if limit == resource.RLIM_INFINITY else max(0, limit - _held_bytes(0))
    except (ImportError, OSError, ValueError):
        return None


def peak_bytes() -> tuple[int, int]:
    """The most memory that this process, and the largest process that it started and that has ended, ever held.

    Zeros where the system does not say.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0, 0
    unit = 1 if platform.system() == "Darwin" else 1024
    own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own * unit, child * unit


def resident_bytes() -> int:
    """Memory that this process holds. Raises OSError where the system has no /proc."""
    return _held_bytes(1)


def _held_bytes(column: int) -> int:
    """A column of /proc/self/statm: 0 the addresses in use, 1 what is in memory."""
    pages = (_PROC / "self" / "statm").read_text(encoding="ascii").split()[column]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


HEAP_GROWTH_BYTES = 384 * 2**20


class Heap:
    """Gives freed memory back where glibc would keep it, each time that HEAP_GROWTH_BYTES more are resident.

    A training step frees and allocates tensors of many sizes, and glibc's heap grows by some 30 MB per step though
    no more is in use: 200 steps of the tiny model held 5 GB for 0.8 GB of tensors. Growth counts from a step's own
    need: given back after every step, it would be asked for again page by page, a seventh of the step's time.
    Does nothing without glibc.
    """

    def __init__(self) -> None:
        self._trim: Callable[[int], object] | None = None
        self._least: int | None = None
        try:
            self._trim = ctypes.CDLL("libc.so.6").malloc_trim
            resident_bytes()
        except (OSError, AttributeError):
            self._trim = None  # another system, or musl

    def after_step(self) -> bool:
        """Look at the memory and trim if it is time; says whether it did."""
        if self._trim is None:
            return False
        now = resident_bytes()
        if self._least is None or now < self._least + HEAP_GROWTH_BYTES:
            self._least = now if self._least is None else min(self._least, now)
            return False
        self._trim(0)
        self._least = None  # until the next step has taken what it needs
        return True
