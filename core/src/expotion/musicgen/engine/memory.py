"""Memory: whether weights, caches and prefix fit, before anything is allocated, and huge pages under them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from expotion import machine
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry

SPARE_BYTES = 64 * 2**20
"""Left for everything that is not counted."""
_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8}


def weight_bytes(lm: MusicGenLM, mode: str) -> int:
    """Bytes of the packed weights. In int8 cross-attention and embeddings stay in 16 bits."""
    sizes = {name: parameter.numel() for name, parameter in lm.named_parameters()}
    wide = sum(size for name, size in sizes.items() if ".cross_" in name or name.startswith("embedding"))
    return sum(sizes.values()) * _BITS[mode] // 8 + (wide if mode == "int8" else 0)


def state_bytes(
    geometry: LMGeometry, dtype: torch.dtype, n_rows: int, n_positions: int, text_length: int, prefix_rows: int
) -> int:
    """Bytes of what one clip's generation holds: caches, the text's keys and values, the prefix's q, k, v.

    `n_rows`: rows of the batch; `prefix_rows`: rows of prefix over all clips.
    """
    vectors = 2 * n_rows * (n_positions + text_length) + 3 * prefix_rows
    return geometry.n_layers * geometry.width * vectors * dtype.itemsize


def check(needed: int, device: torch.device, what: str, fix: str) -> None:
    """ExpotionError that says what was needed, what there was and what lowers it, where it does not fit."""
    free = machine.free_bytes(device)
    if free is None or needed + SPARE_BYTES <= free:
        return
    wanted, got = f"{size(needed)} for {what}", f"{size(free)} free"
    raise ExpotionError(Problem(f"memory ({device})", wanted, got, f"lower it with {fix}"))


def size(n_bytes: int) -> str:
    """12.3 GB, 45 MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


# Huge pages under what a step reads, where Linux gives them on request.
#
# Weights are read from end to end at every step; with pages of 4 KiB each MiB costs 256 address translations. On
# the machine of docs/performance.md huge pages make a step about 6% faster. Best effort: where the system refuses,
# nothing changes. Only the step's own memory is asked for: moving the rest of a process, which may hold gigabytes,
# takes seconds.

_COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1
_HUGE = 2 * 2**20
_LEAST = 64 * 2**20
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def spans(tensors: Iterable[Tensor], mappings: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Addresses (start, end) of the huge pages that tensors of the CPU touch, where they lie within mappings.

    Tensors in oneDNN's own layouts have no address and are left out.
    """
    own = sorted(
        (one.data_ptr() // _HUGE * _HUGE, -(-(one.data_ptr() + one.nbytes) // _HUGE) * _HUGE)
        for one in tensors
        if one.device.type == "cpu" and one.layout is torch.strided and one.nbytes
    )
    joined: list[tuple[int, int]] = []
    for start, end in own:
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    whole = [(-(-first // _HUGE) * _HUGE, last // _HUGE * _HUGE) for first, last in mappings]
    inside = [(max(start, first), min(end, last)) for start, end in joined for first, last in whole]
    return [(start, end) for start, end in inside if start < end]


def _mappings() -> list[tuple[int, int]]:
    """Private, writable, anonymous mappings of this process: (start, end)."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split()
        if fields[1] == "rw-p" and (len(fields) < 6 or fields[5] == "[heap]"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            found.append((start, end))
    return found


def use_huge_pages(tensors: Iterable[Tensor], step_bytes: int) -> bool:
    """Ask for huge pages under tensors that every step reads; whether any were granted.

    Where a step reads fewer bytes of weights than _LEAST, asking would take longer than it saves.
    """
    if sys.platform != "linux" or step_bytes < _LEAST:
        return False
    try:
        if "[never]" in _SETTING.read_text():
            return False
        advise = ctypes.CDLL(None, use_errno=True).madvise
        wanted = spans(tensors, _mappings())
    except (OSError, AttributeError):
        return False
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return any([advise(start, end - start, _COLLAPSE) == 0 for start, end in wanted])
