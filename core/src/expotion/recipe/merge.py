"""Profiles, matrix rows and --set: partial recipes laid over the one in the file, positions kept."""

from __future__ import annotations

import re

from expotion.errors import Problem, RecipeError
from expotion.recipe.nodes import Node, from_plain, read_text
from expotion.recipe.pairs import pair_of
from expotion.recipe.presets import PRESETS, RIVALS, preset_layer
from expotion.recipe.problems import did_you_mean

_STEP = re.compile(r"([A-Za-z_][\w-]*)|\[([^\[\]]+)\]")


def merge(base: Node, over: Node) -> Node:
    """`over` laid on `base`: mappings merge, everything else is replaced.

    Options belong to what they were written for: where `source` changes, the rest of that mapping goes with
    it; where `encoder` changes, its `options` do.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    kept = {} if _differs(base, over, "source") else dict(base.value)
    if _differs(base, over, "encoder"):
        kept.pop("options", None)
    for key, child in over.value.items():
        kept[key] = merge(kept[key], child) if key in kept else child
    return Node(kept, base.where)


def lay(recipe: Node, layer: Node) -> Node:
    """A partial recipe laid on a whole one: the presets that it names first, its own keys over them."""
    for section, content in layer.value.items():
        for key, value in content.value.items() if isinstance(content.value, dict) else ():
            recipe = _make_way(recipe, section, key, value)
    return merge(recipe, layer)


def _make_way(recipe: Node, section: str, key: str, value: Node) -> Node:
    """The recipe as it is before a layer's `section.key` is laid on it."""
    if key == "preset" and value.value in PRESETS.get(section, {}):
        return lay(recipe, from_plain(preset_layer(section, str(value.value)), value.where))
    below = recipe.value.get(section)
    if section == "train" and key in RIVALS and below is not None and isinstance(below.value, dict):
        return Node({**recipe.value, section: below.without(RIVALS[key])}, recipe.where)
    return recipe


def _differs(base: Node, over: Node, key: str) -> bool:
    return key in base.value and key in over.value and base.value[key].plain() != over.value[key].plain()


def apply_profile(recipe: Node, profiles: dict[str, Node], name: str, problems: list[Problem]) -> Node:
    """The recipe with profile `name` (and what it extends, first) laid over it."""
    chain: list[str] = []
    current: str | None = name
    asked_at = "--profile"
    while current is not None:
        where = f"{asked_at} {current}"
        if current not in profiles:
            fix = did_you_mean(current, list(profiles), "profiles of this recipe")
            problems.append(Problem(where, "a profile of this recipe", repr(current), fix))
            return recipe
        if current in chain:
            problems.append(Problem(where, "profiles that end", f"a circle: {' -> '.join(chain)}"))
            return recipe
        chain.append(current)
        content = profiles[current].value
        extends = content.get("extends") if isinstance(content, dict) else None
        if extends is not None:
            asked_at = f"{extends.where} profiles.{current}.extends"
        current = None if extends is None else str(extends.value)
    for step in reversed(chain):
        node = profiles[step]
        if not isinstance(node.value, dict):
            problems.append(Problem(f"{node.where} profiles.{step}", "a mapping", repr(node.plain())))
            continue
        recipe = lay(recipe, node.without("extends"))
    return recipe


def apply_set(recipe: Node, assignment: str, problems: list[Problem]) -> Node:
    """The recipe with one `path=value` of --set; the value is read as YAML."""
    where = f"--set {assignment}"
    path_text, value_text = pair_of(assignment) or ("", "")
    if parse_path(path_text) is None:
        problems.append(Problem(where, "path=value", None, "for example --set conditions[motion].rank=4"))
        return recipe
    value = typed(value_text, where, problems)
    return recipe if value is None else assign(recipe, path_text, value, where, problems)


def typed(text: str, where: str, problems: list[Problem]) -> Node | None:
    """A value of the command line, read as YAML; None for what is none, which is noted."""
    try:
        return from_plain(read_text(text, where, problems).plain(), where)
    except RecipeError as error:
        fix = "close its brackets and quotes, or quote it as a whole"
        problems.append(Problem(where, "a YAML value", error.problems[0].got, fix))
        return None


def assign(root: Node, path_text: str, value: Node, where: str, problems: list[Problem]) -> Node:
    """The tree with the value at a path such as `conditions[motion].rank` replaced; what is wrong is noted."""
    path = parse_path(path_text)
    if path is None:
        problems.append(Problem(where, "a path of the recipe", repr(path_text), "for example train.steps"))
        return root
    if len(path) == 2:
        root = _make_way(root, str(path[0]), str(path[1]), value)
    try:
        return _assign(root, path, value)
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


def _assign(node: Node, path: list[str | int], value: Node) -> Node:
    """The tree with `value` at the path. Raises KeyError((wanted, got, fix))."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(node.value, list):
        items = list(node.value)
        index = _index(items, step)
        items[index] = _assign(items[index], rest, value)
        return Node(items, node.where)
    if isinstance(node.value, dict):
        key = str(step)
        changed = _assign(node.value.get(key, Node({}, value.where)), rest, value)
        if not rest and step in ("encoder", "source"):
            return merge(node, Node({key: changed}, value.where))
        return Node({**node.value, key: changed}, node.where)
    if not node.value and not isinstance(node.value, (bool, int, float)):
        return _assign(Node({}, value.where), path, value)
    got = f"{step!r} below the value {node.plain()!r}"
    raise KeyError(("a path into a mapping or list", got, "check the path"))


def _index(items: list[Node], step: str | int) -> int:
    contents = [item.value if isinstance(item.value, dict) else {} for item in items]
    names = [str(content["name"].value) if "name" in content else str(i) for i, content in enumerate(contents)]
    if step in names:
        return names.index(str(step))
    if isinstance(step, str):
        raise KeyError(("the name of an entry", repr(step), did_you_mean(step, names, "entries")))
    if step >= len(items):
        raise KeyError((f"an index below {len(items)}", str(step), f"entries: {', '.join(names)}"))
    return step
