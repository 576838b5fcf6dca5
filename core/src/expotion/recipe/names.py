"""What names and paths in a model lead to: marked where a field is declared, checked here for every model."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from expotion.errors import listed, near
from expotion.recipe.problems import Loc

Fault = tuple[Loc, str, str, str | None]
"""Path in the model, what was wanted, what came, the fix."""


@dataclass(frozen=True)
class Names:
    """Marks a field: its text, its entries or, of a mapping, its keys name things of a `kind`, or words `also`."""

    kind: str
    also: tuple[str, ...] = ()


def misnamed(
    value: Any, known: Mapping[str, Sequence[str]], loc: Loc = (), hint: Any = None, marks: Sequence[Any] = ()
) -> Iterator[Fault]:
    """Each marked name in a model, at any depth, that is not among the `known` ones of its kind.

    Names of a kind that `known` does not have are passed over.
    """
    for mark in marks:
        if isinstance(mark, Names) and mark.kind in known:
            names = [*known[mark.kind], *mark.also]
            wanted = f"one of {listed(names, 12)}" if names else f"none, as there is no {mark.kind}"
            steps = [(step, step if isinstance(value, dict) else name) for step, name, _, _ in _inside(value, hint)]
            given = [(loc, value)] if isinstance(value, str) else [((*loc, step), name) for step, name in steps]
            yield from [(at, wanted, repr(name), near(name, names)) for at, name in given if name not in names]
    for step, entry, inner, own in _inside(value, hint):
        yield from misnamed(entry, known, (*loc, step), inner, own)


def lost(value: Any, loc: Loc = (), about: str | None = None) -> Iterator[Fault]:
    """Each path in a model, at any depth, that leads to nothing that can be read.

    Text that begins as paths do is one, too: plugins' options may take a file or a name. `about`: what it is.
    """
    if isinstance(value, Path) or (isinstance(value, str) and value.startswith(("./", "../", "/", "~"))):
        path = Path(value).expanduser()
        if not os.access(path, os.R_OK):
            fix = f"give {about}" if about else f"correct the path (relative ones begin at {Path.cwd()})"
            wanted = "a file or folder that can be read"
            yield loc, wanted, f"{value}: {'not to be read' if os.path.lexists(path) else 'nothing there'}", fix
    for step, entry, _, marks in _inside(value):
        told = next((mark.description for mark in marks if isinstance(mark, FieldInfo)), about)
        yield from lost(entry, (*loc, step), told)


def _inside(value: Any, hint: Any = None) -> Iterator[tuple[int | str, Any, Any, Sequence[Any]]]:
    """(step, value, type, marks) of all that a model, mapping or list holds; `hint`: its declared type."""
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            yield name, getattr(value, name, None), field.annotation, (*field.metadata, field)
    elif isinstance(value, (dict, list, tuple)):
        inner, marks = (None, *typing.get_args(hint))[-1], []
        if typing.get_origin(inner) is Annotated:
            inner, *marks = typing.get_args(inner)
        for step, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield step, entry, inner, marks
