"""pydantic's errors as problems: where in the file, what was wanted, what came, how to fix it."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from expotion.errors import Problem
from expotion.recipe.nodes import Node

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


def problems_of(
    error: ValidationError, model: type[BaseModel], root: Node, prefix: Loc = ()
) -> list[Problem]:
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
        known = isinstance(node.value, dict) and step in node.value
        known = known or (isinstance(node.value, list) and isinstance(step, int))
        last = position == len(loc) - 1 and isinstance(node.value, dict)
        if known or last:
            kept.append(step)
            node = node.at((step,))
    return tuple(kept)


Description = tuple[str, str | None, str | None]


def _describe(fault: Mapping[str, Any], model: type[BaseModel], loc: Loc) -> Description:
    """(wanted, got, fix) of one fault."""
    kind, value, context = fault["type"], fault.get("input"), fault.get("ctx", {})
    field = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        return "unknown field", None, did_you_mean(field, fields_at(model, loc[:-1]))
    if kind == "missing":
        return "this field is required", "nothing", f"add `{field}: ...`"
    fix: str | None = None
    if kind == "literal_error":
        choices = _choices(str(context["expected"]))
        wanted, fix = f"one of {', '.join(choices)}", _word_fix(value, choices)
    elif kind == "value_error":
        wanted = str(context.get("error", fault["msg"]))
    elif kind == "string_pattern_mismatch":
        wanted = "small letters, digits and _ (a letter first)"
    elif bounds := [f"{words} {context[bound]}" for bound, words in _BOUNDS.items() if bound in context]:
        wanted = f"a number {bounds[0]}"
    else:
        known = "true, false or a probability" if field == "context_swap" else _TYPES.get(kind)
        wanted, fix = known or _lower_first(fault["msg"]), _type_fix(kind, value)
    return wanted, show(value), fix


def _choices(expected: str) -> list[str]:
    return [choice.strip().strip("'") for choice in expected.replace(" or ", ", ").split(",")]


_BOUNDS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
_SWITCH_WORDS = ("on", "yes", "off", "no", "On", "Yes", "Off", "No")
_TYPES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "string_too_short": "some text",
    "too_short": "more entries",
    "too_long": "fewer entries",
}


def _type_fix(kind: str, value: Any) -> str | None:
    if kind.startswith(("int", "float")) and isinstance(value, str) and _reads_as_number(value):
        return f"remove the quotes: {value}"
    if isinstance(value, str) and value in _SWITCH_WORDS and kind != "list_type":
        return f"write {'true' if value.lower() in ('on', 'yes') else 'false'}"
    if kind == "string_type" and isinstance(value, (int, float, bool)):
        return f'put it in quotes: "{value}"'
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if kind == "list_type" and value is not None:
        return "write it as a list: [...]"
    return None


def _word_fix(value: Any, choices: list[str]) -> str | None:
    if (value is False or value in ("off", "no")) and "none" in choices:
        return "write none"
    close = difflib.get_close_matches(value, choices, n=1, cutoff=0.6) if isinstance(value, str) else []
    return f"did you mean {close[0]!r}?" if close else None


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def did_you_mean(name: str, known: Sequence[str], what: str = "known fields") -> str:
    """'did you mean ...?', or the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"{what}: {', '.join(known) or 'none'}"


def fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Names of the fields that the model has at a path (list indices are stepped over)."""
    current: type[BaseModel] = model
    for step in loc:
        if isinstance(step, int):
            continue
        info = current.model_fields.get(step)
        inner = _model_in(info.annotation) if info is not None else None
        if inner is None:
            return []
        current = inner
    return list(current.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for part in typing.get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None


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


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def in_file_order(problems: Sequence[Problem]) -> list[Problem]:
    """Problems by line; those of the command line first."""

    def line(problem: Problem) -> int:
        found = re.match(r"\S.*?:(\d+)\b", problem.where)
        return int(found[1]) if found and not problem.where.startswith("--") else 0

    return sorted(problems, key=line)
