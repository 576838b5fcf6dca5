"""An allocation that failed, said in words: what was needed, what there was, and which option lowers it."""

from __future__ import annotations

import errno
import re

from expotion import machine
from expotion.errors import Problem
from expotion.musicgen.engine import memory

FIX = "lower it with --precision bf16 or int8, a smaller --backbone or, of `generate`, --jobs 1 (or 0)"
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "out of memory",
    "failed to map segment",
)
_MAYBE, _LITTLE_BYTES = "could not create a primitive", 512 * 2**20
"""What oneDNN says, among other things, when it cannot allocate."""
_NEEDED = re.compile(r"allocate (\d+(?:\.\d+)?) (bytes|[KMGTPE]?i?B)", re.IGNORECASE)


def memory_problem(where: str, error: BaseException, fix: str = FIX) -> Problem | None:
    """The problem where an error (numpy's, torch's, the system's) means that memory ran out, else None."""
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return _problem(where, str(error), fix)
    return text_problem(where, f"{type(error).__name__}: {error}", fix)


def text_problem(where: str, text: str, fix: str = FIX) -> Problem | None:
    """The same for an error that came as text, `Kind: message`, from another process."""
    kind, _, message = text.partition(":")
    said = any(words in message.lower() for words in _WORDS)
    if _MAYBE in message:
        free = machine.free_bytes()
        said = free is not None and free < _LITTLE_BYTES
    if kind == "MemoryError" or (kind in ("RuntimeError", "OutOfMemoryError", "ImportError") and said):
        return _problem(where, message, fix)
    return None


def _problem(where: str, text: str, fix: str) -> Problem:
    wanted, free = "more memory", machine.free_bytes()
    found = _NEEDED.search(text)
    if found is not None:
        power = "KMGTPE".find(found[2][0].upper()) + 1  # 0 for B and bytes
        wanted = f"{memory.size(round(float(found[1]) * 1024.0**power))} more memory"
    return Problem(where, wanted, None if free is None else f"{memory.size(free)} free", fix)
