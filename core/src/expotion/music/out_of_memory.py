"""An allocation that failed, said in words: what was needed, what there was, and which option lowers it."""

from __future__ import annotations

import errno
import re

from expotion import machine
from expotion.errors import Problem
from expotion.musicgen.engine import memory

FIX = "lower it with --jobs 1 (or 0), --precision bf16 or int8, or a smaller --backbone"
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "out of memory",
    "failed to map segment",
)
_MAYBE, _LITTLE_BYTES = "could not create a primitive", 512 * 2**20
"""What oneDNN says, among other things, when it cannot allocate."""
_BYTES = re.compile(r"allocate (\d+) bytes", re.IGNORECASE)
_UNITS = re.compile(r"allocate (\d+(?:\.\d+)?) ([KMGTPE]?i?B)", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


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
    needed, free = _needed_bytes(text), machine.free_bytes()
    wanted = "more memory" if needed is None else f"{memory.size(needed)} more memory"
    return Problem(where, wanted, None if free is None else f"{memory.size(free)} free", fix)


def _needed_bytes(text: str) -> int | None:
    found = _BYTES.search(text)
    if found is not None:
        return int(found[1])
    found = _UNITS.search(text)
    if found is None:
        return None
    scale = 1024.0 ** _POWERS[found[2][:-1].rstrip("i").upper()]
    return round(float(found[1]) * scale)
