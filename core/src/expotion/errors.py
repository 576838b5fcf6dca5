"""Errors that a user can act on: where, what was wanted, what came, and the fix, formatted once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `where` names the file (and line or field), `wanted` and `got` say what was expected and what came,
    `fix` says what to do about it. Only `where` and `wanted` are required.
    """

    where: str
    wanted: str
    got: str | None = None
    fix: str | None = None

    def at(self, where: str) -> Problem:
        """The same, named as it stands elsewhere."""
        return replace(self, where=where)

    def __str__(self) -> str:
        text = f"{self.where}: {self.wanted}"
        if self.got is not None:
            text += f", got {self.got}"
        if self.fix:
            text += f"; {self.fix}"
        return text


class ExpotionError(Exception):
    """Base of every error that the command line shows without a traceback.

    Raises no others; holds the list of `problems`, all of them at once.
    """

    exit_code = 1

    def __init__(self, problems: Problem | str | Sequence[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(where="expotion", wanted=problems)
        if isinstance(problems, Problem):
            problems = [problems]
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(ExpotionError):
    """A recipe (or an option given with --set) is wrong."""

    exit_code = 2


class MediaError(ExpotionError):
    """A video, audio or image file cannot be used."""


class PluginError(ExpotionError):
    """A plugin is broken, missing or clashes with another."""

    exit_code = 2


class WeightsError(ExpotionError):
    """A weights file is missing, refused or does not fit the model: every mismatch is listed."""


class RunFolderError(ExpotionError):
    """A run folder is missing, incomplete, or of another version."""


class OutputError(ExpotionError):
    """A file could not be written."""


FAULTS = (Exception, SystemExit)
"""What code for one item, a plugin's or a library's, may raise: that item has failed. A Ctrl-C is none."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type's name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def last_line(error: BaseException) -> str:
    """The last line of what an error says, or its type's name where it says nothing."""
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__


def in_short(error: BaseException) -> str:
    """An error in a message: ours as it stands, any other as its type and first line."""
    if isinstance(error, ExpotionError):
        return str(error)
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def near(name: Any, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """`did you mean 'motion'?` where a known name is that much like it, else None."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff) if isinstance(name, str) else []
    return f"did you mean {close[0]!r}?" if close else None


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a message: `a, b, c`, of many the first ones `and 12 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
