"""YAML into a tree that remembers where each value stands.

Values follow YAML 1.2's core schema: only `true` and `false` are booleans (`off` is a word), `1e-4` is a
number, `010` is ten. Repeated keys are problems, not silently the last one. Only plain data is read:
tags that would make objects are refused, and aliases are expanded up to a limit.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from expotion.errors import Problem, RecipeError, first_line

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 40

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_OTHER_BASE = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value and `where` it stands ('file.yaml:4', or '--set a.b=1').

    `value` is a scalar, a list of nodes, or a dictionary of nodes; a field stands where its key stands.
    """

    value: Any
    where: str

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def at(self, path: tuple[int | str, ...]) -> Node:
        """The node at a path, or the deepest one on the way to it."""
        node = self
        for step in path:
            in_list = isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value)
            if not in_list and not (isinstance(node.value, dict) and step in node.value):
                break
            node = node.value[step]
        return node


def from_plain(value: Any, where: str) -> Node:
    """A tree whose every node stands at the same place."""
    if isinstance(value, dict):
        return Node({key: from_plain(child, where) for key, child in value.items()}, where)
    if isinstance(value, list):
        return Node([from_plain(child, where) for child in value], where)
    return Node(value, where)


def parse_scalar(text: str) -> Scalar:
    """A plain (unquoted) scalar by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text) if len(text) < 100 else float(text)
    if _OTHER_BASE.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    if _NOT_FINITE.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def read_file(path: Path, problems: list[Problem]) -> Node:
    """The tree of one file. Faults that leave a tree go into `problems`; others raise `RecipeError`."""
    name = str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(_missing(path)) from None
    except OSError as error:
        raise RecipeError(Problem(name, "a readable file", error.strerror or str(error))) from None
    if len(raw) > MAX_BYTES:
        raise RecipeError(
            Problem(name, f"at most {MAX_BYTES:,} bytes", f"{len(raw):,} bytes", "is this a recipe?")
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            Problem(name, "a text file in UTF-8", f"byte 0x{raw[error.start]:02x} at position {error.start}")
        ) from None
    return read_text(text, name, problems)


def _missing(path: Path) -> Problem:
    near = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    fix = f"recipes there: {', '.join(near[:8])}" if near else "`expotion recipe list` shows what there is"
    return Problem(str(path), "an existing recipe", "no such file", fix)


def read_text(text: str, name: str, problems: list[Problem]) -> Node:
    """The tree of YAML text; `name` stands in messages. Raises `RecipeError` for what is no YAML."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        fix = (
            "indent with spaces"
            if "'\\t'" in str(error.problem)
            else "check indentation, brackets and quotes"
        )
        raise RecipeError(Problem(f"{name}{line}", "valid YAML", error.problem or "a fault", fix)) from None
    except yaml.YAMLError as error:
        raise RecipeError(Problem(name, "valid YAML", first_line(error))) from None
    except RecursionError:
        raise RecipeError(Problem(name, f"nesting of at most {MAX_DEPTH} levels", "more")) from None
    if root is None:
        raise RecipeError(
            Problem(name, "a recipe", "an empty file", "copy one: expotion recipe copy face_motion")
        )
    return _Expander(name, problems).expand(root, 0, ())


class _Loader(yaml.SafeLoader):
    """Composes nodes only; scalars are read by `parse_scalar`, objects are never built."""


class _Expander:
    """Turns composed YAML nodes into ours: expands aliases and merges, within limits."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name = name
        self.problems = problems
        self.count = 0
        self.seen_faults: set[tuple[str, Hashable]] = set()

    def where(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def expand(self, node: yaml.Node, depth: int, open_ids: tuple[int, ...]) -> Node:
        where = self.where(node)
        self.count += 1
        if self.count > MAX_NODES:
            raise RecipeError(
                Problem(
                    where,
                    f"at most {MAX_NODES:,} values",
                    "more after expanding aliases",
                    "use fewer aliases",
                )
            )
        if depth > MAX_DEPTH:
            raise RecipeError(Problem(where, f"nesting of at most {MAX_DEPTH} levels", "more"))
        if id(node) in open_ids:
            raise RecipeError(Problem(where, "values that end", "an alias that contains itself"))
        inner = (*open_ids, id(node))
        if node.tag not in _PLAIN_TAGS and not self._resolved_implicitly(node):
            self.fault(
                where, node.tag, Problem(where, "plain values", f"the tag {node.tag!r}", "remove the tag")
            )
        if isinstance(node, yaml.ScalarNode):
            return Node(node.value if node.style is not None else parse_scalar(node.value), where)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.expand(child, depth + 1, inner) for child in node.value], where)
        return Node(self._mapping(node, depth, inner), where)

    def _resolved_implicitly(self, node: yaml.Node) -> bool:
        # PyYAML's own guesses (timestamps, `=`) are no tags that anybody wrote.
        guesses = {f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "value", "merge")}
        return isinstance(node, yaml.ScalarNode) and node.style is None and node.tag in guesses

    def _mapping(self, node: yaml.Node, depth: int, inner: tuple[int, ...]) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            where = self.where(key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self._merge_sources(value_node, depth, inner):
                    merged = {**source, **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.fault(where, "key", Problem(where, "a name as key", "a list or mapping"))
                continue
            key = key_node.value
            if key in lines:
                fix = f"keep one; the other is on line {lines[key]}"
                self.fault(where, key, Problem(f"{where} {key}", "a field given once", "a repeated key", fix))
                continue
            lines[key] = key_node.start_mark.line + 1
            child = self.expand(value_node, depth + 1, inner)
            own[key] = Node(child.value, where)
        return {**merged, **own}

    def _merge_sources(
        self, node: yaml.Node, depth: int, inner: tuple[int, ...]
    ) -> Iterator[dict[str, Node]]:
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            expanded = self.expand(source, depth + 1, inner)
            if isinstance(expanded.value, dict):
                yield expanded.value
            else:
                where = self.where(node)
                self.fault(where, "<<", Problem(f"{where} <<", "a mapping to merge", repr(expanded.value)))

    def fault(self, where: str, key: Hashable, problem: Problem) -> None:
        if (where, key) not in self.seen_faults:
            self.seen_faults.add((where, key))
            self.problems.append(problem)
