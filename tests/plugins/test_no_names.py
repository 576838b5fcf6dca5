"""Core knows no plugin by name: no string of its code holds one, but for docstrings and help texts."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import expotion
from expotion.contracts import ENTRY_POINT_GROUP
from expotion.plugins import discover, same_distribution

SOURCE = Path(expotion.__file__).parent
PLUGINS = Path(__file__).parents[2] / "plugins"
PROSE = {"help", "epilog"}
"""Keywords, and endings of names, whose strings are help."""


def names() -> set[str]:
    """Entry points, distributions, encoders, backbones and data sources of the installed plugins."""
    ours = {folder.name for folder in PLUGINS.iterdir()}
    found = set()
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        if point.dist is not None and point.name in ours:
            found |= {point.name, point.dist.name, point.value}
            for kind in ("encoder", "backbone", "data source", "captioner", "metric"):
                found |= {
                    name
                    for name, offer in discover().offers(kind).items()
                    if same_distribution(offer.distribution, point.dist.name)
                }
    return found


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings of a module's code, docstrings and help texts left out."""
    prose: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            prose.add(id(node.value))  # a docstring, of a name too
        elif (isinstance(node, ast.keyword) and node.arg in PROSE) or (
            isinstance(node, ast.Assign)
            and all(isinstance(target, ast.Name) and target.id.endswith("HELP") for target in node.targets)
        ):
            prose |= {id(inner) for inner in ast.walk(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node


def test_no_string_of_core_names_a_plugin() -> None:
    wanted = names()
    assert {"face_marlin", "expotion-conductor", "tiny", "text_t5", "conductor"} <= wanted
    name = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(wanted, key=len, reverse=True)))})(?![\w-])")
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for constant in strings(ast.parse(path.read_text(encoding="utf-8"))):
            if hit := name.search(constant.value):
                found.append(f"{path.relative_to(SOURCE)}:{constant.lineno} {hit[0]}")
    assert found == []


def test_the_reading_sees_code_and_leaves_prose() -> None:
    tree = ast.parse(
        '"""tiny"""\nX_HELP = "tiny"\nY = "tiny"\n"""tiny"""\nf(help="tiny", metavar="tiny")\nz = f"a tiny {Y}"\n'
    )
    assert sorted(constant.lineno for constant in strings(tree)) == [3, 5, 6]
