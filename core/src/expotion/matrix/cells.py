"""From `matrix:` to trees of recipes: overrides laid over what is shared, row by row and value by value."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expotion.errors import Problem
from expotion.recipe.merge import assign, lay, parse_path
from expotion.recipe.nodes import Node
from expotion.recipe.problems import did_you_mean, show
from expotion.recipe.schema import Recipe

MAX_CELLS = 500
ROW = "row"
"""Name of the rows in exclusions."""
LABELS = "labels"
_ROW_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True)
class Choice:
    """One row, or one value of an axis: how it is called and what it changes."""

    axis: str
    label: str
    value: Any
    overrides: tuple[tuple[str, Node], ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    is_seed: bool = False

    @property
    def part(self) -> str:
        """Its part of a cell's name."""
        if self.axis == ROW:
            return self.label
        last = [step for step in parse_path(self.axis) or [self.axis] if isinstance(step, str)][-1]
        return f"{last}_{self.label}"


@dataclass(frozen=True)
class Combination:
    """A cell before it is resolved."""

    name: str
    row: str
    labels: Mapping[str, str]
    root: Node


def combinations(shared: Node, section: Node, problems: list[Problem]) -> list[Combination]:
    """All cells, in the order of rows and then axes; what is wrong with the matrix goes into `problems`."""
    before = len(problems)
    dimensions = [*_row_choices(section, problems), *_axis_choices(section, problems)]
    if not dimensions and len(problems) == before:
        problems.append(Problem(f"{section.where} matrix", "rows or axes", "neither"))
    if len(problems) > before:
        return []
    every = 1
    for dimension in dimensions:
        every *= len(dimension)
    if every > MAX_CELLS:
        problems.append(Problem(f"{section.where} matrix", f"at most {MAX_CELLS} cells", f"{every:,}"))
        return []
    kept = _without_excluded(list(itertools.product(*dimensions)), dimensions, section, problems)
    name = str(shared.value["name"].value) if "name" in shared.value else "matrix"
    cells = [_combine(shared, choices, name, problems) for choices in kept]
    for cell_name, count in Counter(cell.name for cell in cells).items():
        if count > 1:
            fix = "name the values: {LABEL: {...}}"
            wanted = "a name of its own for each cell"
            problems.append(Problem(f"{section.where} matrix", wanted, f"{cell_name} {count} times", fix))
    return cells


def _row_choices(section: Node, problems: list[Problem]) -> list[list[Choice]]:
    rows = section.value.get("rows")
    if rows is None or rows.value is None:
        return []
    if not rows.value:
        problems.append(Problem(f"{rows.where} matrix.rows", "at least one row", "none"))
    choices = []
    for name, node in rows.value.items():
        where = f"{node.where} matrix.rows.{name}"
        if not _ROW_NAME.match(str(name)) or name in ("shuffled", "ground_truth", "codec_ceiling", "silence"):
            wanted = "a row named by small letters, digits and _ (a letter first), not like a control"
            problems.append(Problem(where, wanted, repr(name), "rename the row"))
        content = dict(node.value) if isinstance(node.value, dict) else {}
        labels = content.pop(LABELS, None)
        told = labels.plain() if labels is not None else {}
        if not isinstance(told, dict):
            problems.append(Problem(f"{where}.labels", "a mapping from columns to text", show(told)))
            told = {}
        overrides = _overrides(content, f"matrix.rows.{name}", problems)
        choices.append(Choice(ROW, str(name), str(name), overrides, {str(k): str(v) for k, v in told.items()}))
    return [choices]


def _axis_choices(section: Node, problems: list[Problem]) -> list[list[Choice]]:
    axes = section.value.get("axes")
    if axes is None or axes.value is None:
        return []
    dimensions = []
    for axis, node in axes.value.items():
        where, name = f"{node.where} matrix.axes.{axis}", f"matrix.axes.{axis}"
        if not node.value:
            problems.append(Problem(where, "at least one value", "none", "give values, or remove the axis"))
            continue
        if axis == ROW:
            problems.append(Problem(where, "a name that is not `row`", fix="call the axis otherwise"))
        if isinstance(node.value, dict):
            choices = [
                Choice(
                    axis,
                    _label(label),
                    label,
                    _overrides(child.value, f"{name}.{label}", problems),
                    {axis: str(label)},
                    axis == "seed",
                )
                for label, child in node.value.items()
            ]
        else:
            choices = _path_choices(axis, node, where, name, problems)
        labels = [choice.label for choice in choices]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            problems.append(Problem(where, "each value once", f"{label} twice"))
        dimensions.append(choices)
    return dimensions


def _path_choices(axis: str, node: Node, where: str, name: str, problems: list[Problem]) -> list[Choice]:
    steps = parse_path(axis)
    if not _known(steps, axis, where, problems) or steps is None:
        return []
    choices = []
    for child in node.value:
        value = child.plain()
        if isinstance(value, (dict, list)):
            fix = "name the values: {LABEL: {" + axis + ": ...}}"
            problems.append(Problem(where, "single values in a list", show(value), fix))
            continue
        told = {str(steps[-1]): show(value).strip("'")}
        override = ((axis, _marked(child, name)),)
        choices.append(Choice(axis, _label(value), value, override, told, steps[-1] == "seed"))
    return choices


def _overrides(content: Mapping[str, Node], name: str, problems: list[Problem]) -> tuple[tuple[str, Node], ...]:
    found = []
    for key, child in content.items():
        if _known(parse_path(str(key)), str(key), f"{child.where} {name}", problems):
            found.append((str(key), _marked(child, name)))
    return tuple(found)


def _known(steps: Sequence[str | int] | None, key: str, where: str, problems: list[Problem]) -> bool:
    """Whether a path begins with a field of the recipe that may differ between cells."""
    fields = [name for name in Recipe.model_fields if name not in ("name", "versions")]
    if steps is not None and steps[0] in fields:
        return True
    fix = did_you_mean(str(steps[0]) if steps else key, fields)
    problems.append(Problem(where, "a path that begins with a field of the recipe", repr(key), fix))
    return False


def _marked(node: Node, name: str) -> Node:
    """The node, saying in its place that it comes from the matrix."""
    where = f"{node.where} {name}:"
    if isinstance(node.value, dict):
        return Node({key: _marked(child, name) for key, child in node.value.items()}, where)
    if isinstance(node.value, list):
        return Node([_marked(child, name) for child in node.value], where)
    return Node(node.value, where)


def _label(value: Any) -> str:
    text = "none" if value is None else str(value)
    return re.sub(r"[^a-z0-9_]+", "_", text.lower()).strip("_") or "empty"


def _without_excluded(
    every: list[tuple[Choice, ...]], dimensions: Sequence[Sequence[Choice]], section: Node, problems: list[Problem]
) -> list[tuple[Choice, ...]]:
    excluded = section.value.get("exclude")
    if excluded is None or not isinstance(excluded.value, list):
        return every
    axes = [dimension[0].axis for dimension in dimensions if dimension]
    kept = every
    for index, node in enumerate(excluded.value):
        where = f"{node.where} matrix.exclude[{index}]"
        wanted = node.plain()
        for key in wanted:
            if key not in axes:
                fix = did_you_mean(str(key), axes, "axes")
                problems.append(Problem(where, "a combination of axes (and row)", repr(key), fix))
        matches = [choices for choices in every if _matches(choices, wanted)]
        if not wanted or not matches:
            got = ", ".join(f"{key}: {value}" for key, value in wanted.items()) or "nothing"
            fix = "check the values, or remove it"
            problems.append(Problem(where, "a combination that the matrix has", got, fix))
        kept = [choices for choices in kept if choices not in matches]
    if not kept:
        problems.append(Problem(f"{excluded.where} matrix.exclude", "at least one cell that is left", "none"))
    return kept


def _matches(choices: Sequence[Choice], wanted: Mapping[str, Any]) -> bool:
    by_axis = {choice.axis: choice for choice in choices}
    for axis, value in wanted.items():
        accepted = value if isinstance(value, list) else [value]
        choice = by_axis.get(axis)
        if choice is None or not any(one in (choice.value, choice.label) for one in accepted):
            return False
    return True


def _combine(shared: Node, choices: Sequence[Choice], name: str, problems: list[Problem]) -> Combination:
    root = shared
    labels: dict[str, str] = {}
    for choice in choices:
        if not choice.is_seed:
            labels |= choice.labels
        for key, value in choice.overrides:
            if key in Recipe.model_fields:
                root = lay(root, Node({key: value}, value.where))
            else:
                root = assign(root, key, value, value.where.removesuffix(":"), problems)
    cell = "-".join(choice.part for choice in choices)
    row = "-".join(choice.part for choice in choices if not choice.is_seed) or name
    described = ", ".join(f"{key}: {value}" for key, value in labels.items())
    own = {
        "name": Node(f"{name}-{cell}", shared.where),
        "description": Node(described or f"a cell of {name}", shared.where),
    }
    return Combination(cell, row, labels, Node({**root.value, **own}, root.where))
