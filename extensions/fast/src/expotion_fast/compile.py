"""The decorators of the kernels, with types that a checker follows whether numba is installed or not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numba

Function = Callable[..., Any]


def kernel(function: Function) -> Function:
    """Compiled into whoever calls it; runs without Python's lock."""
    return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))


def entry(function: Function) -> Function:
    """Called from Python; the machine code is kept in `__pycache__` or numba's own cache, where it can be."""
    # numba asks whether this function's own file has changed; its kernels are in others
    function.__qualname__ += f"_{_sources()}"
    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:  # no folder for it can be written: it is compiled in every process
        return kernel(function)


@cache
def _sources() -> str:
    """A hash of this folder's code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
