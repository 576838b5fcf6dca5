"""Standard output stays ours while foreign code runs: what that writes goes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_ours: list[int] = []
"""Descriptor of standard output while file 1 is standard error."""


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Send to standard error what is written to standard output meanwhile, by `print` or below Python.

    What is ours alone goes to `standard_output()`. Inside another such block it does nothing.
    """
    if _ours:
        yield
        return
    with contextlib.ExitStack() as stack:
        sys.stdout.flush()
        with contextlib.suppress(OSError):  # whoever started us may have closed one of them
            _ours.append(os.dup(1))
            stack.callback(lambda: os.close(_ours.pop()))
            os.dup2(2, 1)
            stack.callback(lambda: os.dup2(_ours[0], 1))
            stack.callback(_flush_c)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def standard_output() -> int:
    """The descriptor of standard output, inside and outside of `apart`."""
    return _ours[0] if _ours else sys.stdout.fileno()


def _flush_c() -> None:
    """Write what C libraries hold back: it would come out later, among ours."""
    with contextlib.suppress(OSError, TypeError, AttributeError):  # no C library without a name, on Windows
        ctypes.CDLL(None).fflush(None)
