"""YAML into a tree that remembers where each value stands.

Values follow YAML 1.2's core schema: only `true` and `false` are booleans (`off` is a word), `1e-4` is a
number, `010` is ten. Repeated keys are problems, not silently the last one. Only plain data is read:
tags that would make objects are refused, and aliases are expanded up to a limit.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from expotion.errors import Problem, RecipeError, first_line

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 40
MAX_SIGNS = 4000

_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_OTHER_BASE = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_YAML = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_YAML + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
_GUESSED_TAGS = {_YAML + kind for kind in ("timestamp", "value", "merge")}
"""What PyYAML makes of unquoted words: no tags that anybody wrote."""


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

    def without(self, key: str) -> Node:
        """A mapping without one of its keys."""
        return Node({name: child for name, child in self.value.items() if name != key}, self.where)

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


def parse_scalar(text: str) -> str | int | float | bool | None:
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
        text = raw.decode("utf-8-sig")
    except FileNotFoundError:
        near = sorted(other.name for other in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        fix = f"recipes there: {', '.join(near[:8])}" if near else "`expotion recipe list` shows what there is"
        raise RecipeError(Problem(name, "an existing recipe", "no such file", fix)) from None
    except OSError as error:
        raise RecipeError(Problem(name, "a readable file", error.strerror or str(error))) from None
    except UnicodeDecodeError as error:
        got = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        raise RecipeError(Problem(name, "a text file in UTF-8", got)) from None
    if len(raw) > MAX_BYTES:
        got = f"{len(raw):,} bytes"
        raise RecipeError(
            Problem(name, f"at most {MAX_BYTES:,} bytes", got, "give a file of settings, not of data")
        )
    return read_text(text, name, problems)


def read_text(text: str, name: str, problems: list[Problem]) -> Node:
    """The tree of YAML text; `name` stands in messages. Raises `RecipeError` for what is no YAML."""
    try:
        root = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        tab = "'\\t'" in str(error.problem)
        fix = "indent with spaces" if tab else "check indentation, brackets and quotes"
        raise RecipeError(Problem(f"{name}{line}", "valid YAML", error.problem or "a fault", fix)) from None
    except yaml.YAMLError as error:
        raise RecipeError(Problem(name, "valid YAML", first_line(error))) from None
    except RecursionError:
        raise RecipeError(Problem(name, f"nesting of at most {MAX_DEPTH} levels", "more")) from None
    if root is None:
        return Node(None, name)
    return _Expander(name, problems).expand(root, ())


def _composed(text: str) -> yaml.Node | None:
    """PyYAML's nodes: by libyaml, fifteen times as fast, where PyYAML has it and its recursion cannot go deep.

    Every level of nesting needs one of the characters that are counted. What is no YAML is read by PyYAML itself,
    whose messages are ours.
    """
    fast = getattr(yaml, "CSafeLoader", None)
    if fast is not None and sum(text.count(sign) for sign in "[{-:?") < MAX_SIGNS:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=fast)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def to_text(value: Any) -> str:
    """Plain data as YAML, in its own order, as recipes and matrices are written."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


class _Expander:
    """Turns composed YAML nodes into ours: expands aliases and merges, within limits."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name, self.problems = name, problems
        self.count = 0
        self.seen: set[yaml.Node] = set()

    def expand(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
        """One node and all below it; `above`: the nodes that it stands in."""
        where = self._where(node)
        self.count += 1
        if self.count > MAX_NODES:
            again = len(self.seen) < self.count - 1  # an alias brings the same node once more
            got, fix = (
                ("more after expanding aliases", "use fewer aliases")
                if again
                else ("more", "make its lists shorter")
            )
            raise RecipeError(Problem(where, f"at most {MAX_NODES:,} values", got, fix))
        self.seen.add(node)
        if len(above) > MAX_DEPTH:
            raise RecipeError(Problem(where, f"nesting of at most {MAX_DEPTH} levels", "more"))
        if node in above:
            raise RecipeError(Problem(where, "values that end", "an alias that contains itself"))
        unquoted = isinstance(node, yaml.ScalarNode) and not node.style
        if node.tag not in _PLAIN_TAGS and not (unquoted and node.tag in _GUESSED_TAGS):
            self._fault(where, "plain values", f"the tag {node.tag!r}", "remove the tag")
        if isinstance(node, yaml.ScalarNode):
            return Node(parse_scalar(node.value) if unquoted else node.value, where)
        inner = (*above, node)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.expand(child, inner) for child in node.value], where)
        return Node(self._mapping(node, inner), where)

    def _mapping(self, node: yaml.Node, inner: tuple[yaml.Node, ...]) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            where = self._where(key_node)
            if key_node.tag == _YAML + "merge":
                merged = self._to_merge(value_node, inner) | merged
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(where, "a name as key", "a list or mapping")
                continue
            key = key_node.value
            if key in lines:
                fix = f"keep one; the other is on line {lines[key]}"
                self._fault(f"{where} {key}", "a field given once", "a repeated key", fix)
                continue
            lines[key] = key_node.start_mark.line + 1
            own[key] = Node(self.expand(value_node, inner).value, where)
        return merged | own

    def _to_merge(self, node: yaml.Node, inner: tuple[yaml.Node, ...]) -> dict[str, Node]:
        """What `<<` names, one mapping or a list of them: the first that has a key gives its value."""
        merged: dict[str, Node] = {}
        for source in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.expand(source, inner).value
            if isinstance(value, dict):
                merged = value | merged
            else:
                self._fault(f"{self._where(node)} <<", "a mapping to merge", repr(value))
        return merged

    def _where(self, node: yaml.Node) -> str:
        return f"{self.name}:{node.start_mark.line + 1}"

    def _fault(self, where: str, wanted: str, got: str, fix: str | None = None) -> None:
        problem = Problem(where, wanted, got, fix)
        if problem not in self.problems:  # what an alias repeats is told once
            self.problems.append(problem)
