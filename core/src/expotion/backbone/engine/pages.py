"""Huge pages under the packed weights, where Linux gives them on request.

Weights are read from end to end at every step; with pages of 4 KiB each MiB costs 256 address translations. On
the machine of docs/performance.md huge pages make a step about 6% faster. Best effort: where the system refuses,
nothing changes.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

_COLLAPSE = 25  # MADV_COLLAPSE, Linux 6.1
_HUGE = 2 * 2**20
_LEAST = 8 * 2**20
"""Smaller mappings are left alone."""
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def _mappings() -> list[tuple[int, int]]:
    """Private, writable, anonymous mappings of this process: (start, end)."""
    found = []
    for line in Path("/proc/self/maps").read_text(encoding="ascii", errors="replace").splitlines():
        fields = line.split()
        if fields[1] == "rw-p" and (len(fields) < 6 or fields[5] == "[heap]"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            if end - start >= _LEAST:
                found.append((start, end))
    return found


def use_huge_pages(device: torch.device) -> bool:
    """Ask for huge pages under everything large that this process holds on the CPU; whether it was granted."""
    if device.type != "cpu" or sys.platform != "linux":
        return False
    try:
        if "[never]" in _SETTING.read_text():
            return False
        advise = ctypes.CDLL(None, use_errno=True).madvise
        mappings = _mappings()
    except (OSError, AttributeError):
        return False
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    granted = False
    for start, end in mappings:
        first, last = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
        if last > first:
            granted |= advise(first, last - first, _COLLAPSE) == 0
    return granted
