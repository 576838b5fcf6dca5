"""One call of a kernel on several threads: the caller runs part 0, kept threads run the others."""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import machine
from expotion_fast.sharing import phase_bytes

WORTH_A_THREAD = 2**20
"""Bytes of weights below which another thread costs more than it brings."""
COMPILING_S = 2.0
"""A first call that takes longer is compiling, and says so; machine code that is found on disk loads faster."""
log = logging.getLogger(__name__)
_one_call = threading.Lock()


@contextmanager
def _said_when_compiling(function: Any) -> Iterator[None]:
    if function.overloads:  # compiled or loaded in this process
        yield
        return
    text = "compiling the decoding step for this processor: about ten seconds, once"
    timer = threading.Timer(COMPILING_S, log.warning, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def on_all(function: Callable[..., Any], *arguments: Any, n_bytes: int) -> None:
    """function(*arguments, part, parts) for every part that gets to run; part 0 always does.

    Parts share their work as they come (sharing.py), so one that the system has not started by the end is not
    waited for. As many parts as the process has threads, fewer where `n_bytes` of weights are not worth more.
    """
    parts = max(1, min(machine.threads(), n_bytes // WORTH_A_THREAD))
    if parts == 1:
        with _said_when_compiling(function):
            function(*arguments, 0, 1)
        return
    with _one_call, _said_when_compiling(function):  # parts of two calls must not hold each other's threads
        others = [machine.helpers(parts - 1).submit(function, *arguments, part, parts) for part in range(1, parts)]
        function(*arguments, 0, parts)
        for other in others:
            if not other.cancel():
                other.result()


def counters_for(phases: int) -> NDArray[np.uint8]:
    """Zeros for the counters of `phases` phases on all threads."""
    # not torch's, whose own threads would fill them and then spin for milliseconds where a part is to run
    return np.zeros(phases * phase_bytes(machine.threads()), np.uint8)


@cache
def yield_address() -> int:
    """Address of the system's function that lets another thread run."""
    if sys.platform == "win32":
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value or 0
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
