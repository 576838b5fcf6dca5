"""pydantic's errors as problems: where in the file, what was wanted, what came, how to fix it."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from expotion.errors import Problem, near
from expotion.recipe.nodes import Node, parse_scalar

Loc = tuple[int | str, ...]


def field_path(loc: Sequence[int | str]) -> str:
    """('conditions', 0, 'rank') -> 'conditions[0].rank'."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def place(root: Node, loc: Loc) -> str:
    """'file:line field' of a path; for a missing field, the line of what should hold it."""
    return f"{root.at(loc).where} {field_path(loc)}".strip()


def problems_of(error: ValidationError, model: type[BaseModel], root: Node, prefix: Loc = ()) -> list[Problem]:
    """Every fault of a validation, placed in the tree `root`; `prefix` is where `model` begins in it."""
    problems: list[Problem] = []
    for fault in error.errors(include_url=False):
        loc = _real_part(fault["loc"], root.at(prefix))
        wanted, got, fix = _describe(fault, model, loc)
        problem = Problem(place(root, (*prefix, *loc)), wanted, got, fix)
        if problem not in problems:
            problems.append(problem)
    return problems


def _real_part(loc: Loc, node: Node) -> Loc:
    """The path without the steps that pydantic adds for unions and the like."""
    kept: list[int | str] = []
    for position, step in enumerate(loc):
        last = position == len(loc) - 1
        in_mapping = isinstance(node.value, dict) and (last or step in node.value)
        if in_mapping or (isinstance(node.value, list) and isinstance(step, int)):
            kept.append(step)
            node = node.at((step,))
    return tuple(kept)


def _describe(fault: Mapping[str, Any], model: type[BaseModel], loc: Loc) -> tuple[str, str | None, str | None]:
    """(wanted, got, fix) of one fault."""
    kind, value, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    field = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        return "unknown field", None, did_you_mean(field, fields_at(model, loc[:-1]))
    if kind == "missing":
        return "this field is required", "nothing", f"add `{field}: ...`"
    fix: str | None = None
    if kind == "literal_error":
        expected = str(context["expected"]).replace(" or ", ", ").split(",")
        choices = [choice.strip().strip("'") for choice in expected]
        off = (value is False or value in ("off", "no")) and "none" in choices
        wanted, fix = f"one of {', '.join(choices)}", "write none" if off else near(value, choices)
    elif kind == "value_error":
        wanted = str(context.get("error", fault["msg"]))
    elif kind == "string_pattern_mismatch":
        wanted = "small letters, digits and _ (a letter first)"
    elif bounds := [f"{words} {context[bound]}" for bound, words in _BOUNDS.items() if bound in context]:
        wanted = f"a number {bounds[0]}"
    else:
        known = "true, false or a probability" if field == "context_swap" else None
        known = known or _TYPES.get(kind) or _TYPES.get(kind.partition("_")[0])
        wanted, fix = known or fault["msg"][:1].lower() + fault["msg"][1:], _type_fix(kind, value)
    return wanted, show(value), fix


_BOUNDS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "path": "a path",
    "model": "a mapping",
    "is_instance_of": "a path",
    "string_too_short": "some text",
    "too_short": "more entries",
    "too_long": "fewer entries",
}
"""What was wanted, by pydantic's name of a fault or the first word of it."""


def _type_fix(kind: str, value: Any) -> str | None:
    if isinstance(value, str) and kind.startswith(("int", "float")):
        plain = value.replace("_", "")  # YAML 1.1 and Python read 1_000 as a number
        right = f"write {plain}" if plain != value else f"remove the quotes: {value}"
        return right if type(parse_scalar(plain)) in (int, float) else None
    if isinstance(value, str) and value.lower() in ("on", "yes", "off", "no") and kind != "list_type":
        return f"write {'true' if value.lower() in ('on', 'yes') else 'false'}"
    if kind == "string_type" and isinstance(value, (int, float, bool)):
        return f'put it in quotes: "{value}"'
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind == "list_type" and value is not None:
        return "write it as a list: [...]"
    return None


def did_you_mean(name: str, known: Sequence[str], what: str = "known fields") -> str:
    """'did you mean ...?', or the list of what is known."""
    return near(name, known) or f"{what}: {', '.join(known) or 'none'}"


def fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Names of the fields that the model has at a path (list indices are stepped over)."""
    current: type[BaseModel] = model
    for step in loc:
        if isinstance(step, int):
            continue
        inner = _model_in(current.model_fields[step].annotation) if step in current.model_fields else None
        if inner is None:
            return []
        current = inner
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def show(value: Any) -> str:
    """A value as it is shown in a message: short, YAML's words for true, false and null."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def in_file_order(problems: Sequence[Problem]) -> list[Problem]:
    """Problems by line; those of the command line first."""

    def line(problem: Problem) -> int:
        found = re.match(r"\S.*?:(\d+)\b", problem.where)
        return int(found[1]) if found and not problem.where.startswith("--") else 0

    return sorted(problems, key=line)
