"""Profiles and --set: partial recipes laid over the one in the file, positions kept."""

from __future__ import annotations

import difflib
import re
from typing import Any

from expotion.errors import Problem, RecipeError
from expotion.recipe.nodes import Node, from_plain, read_text
from expotion.recipe.pairs import pair_of

_STEP = re.compile(r"([A-Za-z_][\w-]*)|\[([^\[\]]+)\]")
_OPTIONS_OF = {"encoder": "options"}


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings merge, everything else is replaced.

    Options belong to what they were written for: where `source` changes, the rest of that mapping goes with
    it; where `encoder` changes, its `options` do.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    kept = dict(base.value)
    if _differs(base, over, "source"):
        kept = {}
    for chooser, dependent in _OPTIONS_OF.items():
        if _differs(base, over, chooser):
            kept.pop(dependent, None)
    for key, child in over.value.items():
        kept[key] = merge(kept[key], child) if key in kept else child
    return Node(kept, base.where)


def _differs(base: Node, over: Node, key: str) -> bool:
    return key in base.value and key in over.value and base.value[key].plain() != over.value[key].plain()


def apply_profile(recipe: Node, profiles: dict[str, Node], name: str, problems: list[Problem]) -> Node:
    """The recipe with profile `name` (and what it extends, first) laid over it."""
    chain: list[str] = []
    current: str | None = name
    asked_at = "--profile"
    while current is not None:
        if current not in profiles:
            close = difflib.get_close_matches(current, profiles, n=1)
            known = ", ".join(profiles) or "none"
            fix = f"did you mean {close[0]!r}?" if close else f"profiles of this recipe: {known}"
            problems.append(Problem(f"{asked_at} {current}", "a profile of this recipe", repr(current), fix))
            return recipe
        if current in chain:
            problems.append(
                Problem(f"{asked_at} {current}", "profiles that end", f"a circle: {' -> '.join(chain)}")
            )
            return recipe
        chain.append(current)
        node = profiles[current]
        extends = node.value.get("extends") if isinstance(node.value, dict) else None
        asked_at = f"{extends.where} profiles.{current}.extends" if extends is not None else asked_at
        current = str(extends.value) if extends is not None else None
    for step in reversed(chain):
        node = profiles[step]
        if not isinstance(node.value, dict):
            problems.append(Problem(f"{node.where} profiles.{step}", "a mapping", repr(node.plain())))
            continue
        recipe = merge(recipe, Node({k: v for k, v in node.value.items() if k != "extends"}, node.where))
    return recipe


def apply_set(recipe: Node, assignment: str, problems: list[Problem]) -> Node:
    """The recipe with one `path=value` of --set; the value is read as YAML."""
    where = f"--set {assignment}"
    path_text, value_text = pair_of(assignment) or ("", "")
    path = parse_path(path_text)
    if path is None:
        problems.append(Problem(where, "path=value", None, "for example --set conditions[motion].rank=4"))
        return recipe
    found: list[Problem] = []
    value = Node(None, where)
    if value_text:
        try:
            value = from_plain(read_text(value_text, where, found).plain(), where)
        except RecipeError as error:
            problems.append(Problem(where, "a YAML value", error.problems[0].got, "quote the value"))
            return recipe
    problems += found
    try:
        return _assign(recipe, path, value, where)
    except KeyError as error:
        problems.append(Problem(where, *error.args[0]))
        return recipe


def assign(root: Node, path_text: str, value: Node, where: str, problems: list[Problem]) -> Node:
    """The tree with the value at a path such as `conditions[motion].rank` replaced; what is wrong is noted."""
    path = parse_path(path_text)
    if path is None:
        problems.append(Problem(where, "a path of the recipe", repr(path_text), "for example train.steps"))
        return root
    try:
        return _assign(root, path, value, value.where)
    except KeyError as error:
        problems.append(Problem(where, *error.args[0]))
        return root


def parse_path(text: str) -> list[str | int] | None:
    """'a.b[0].c' or 'conditions[motion].rank' as steps; None where it is no path."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        if steps and text[position] == ".":
            position += 1
        match = _STEP.match(text, position)
        if match is None or (match[1] is None and not steps):
            return None
        inside = match[2]
        steps.append(match[1] if inside is None else int(inside) if inside.isdigit() else inside.strip("'\""))
        position = match.end()
    return steps or None


def _assign(node: Node, path: list[str | int], value: Node, where: str) -> Node:
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(node.value, list):
        items = list(node.value)
        index = _index(items, step)
        items[index] = _assign(items[index], rest, value, where)
        return Node(items, node.where)
    if isinstance(node.value, dict):
        key = str(step)
        child = node.value.get(key, Node({}, where))
        changed = _assign(child, rest, value, where)
        if not rest and isinstance(step, str):
            over = Node({key: changed}, where)
            if key in _OPTIONS_OF or key == "source":
                return merge(node, over)
        return Node({**node.value, key: changed}, node.where)
    if not node.value and not isinstance(node.value, (bool, int, float)):
        return _assign(Node({}, where), path, value, where)
    raise KeyError(
        ("a path into a mapping or list", f"{step!r} below the value {node.plain()!r}", "check the path")
    )


def _index(items: list[Node], step: str | int) -> int:
    names = [_name(item) for item in items]
    if isinstance(step, int):
        if step < len(items):
            return step
        raise KeyError((f"an index below {len(items)}", str(step), f"entries: {', '.join(map(str, names))}"))
    if step in names:
        return names.index(step)
    close = difflib.get_close_matches(step, [str(name) for name in names], n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"entries: {', '.join(map(str, names)) or 'none'}"
    raise KeyError(("the name of an entry", repr(step), fix))


def _name(item: Node) -> Any:
    return item.value["name"].value if isinstance(item.value, dict) and "name" in item.value else None
