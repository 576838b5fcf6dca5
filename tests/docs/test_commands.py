"""Every `expotion` command in the documentation is one that exists, with options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from expotion.cli.main import _spell_out, app, parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*/*/README.md"))]
PAGES += sorted(ROOT.glob("examples/plugins/*/README.md"))
BLOCK = re.compile(r"^```(?:bash|console|sh|text)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:^|[\s/])expotion "
    r"((?:recipe|plugin|models|features|data|adaptor|generate|again|play|live|verify|study)\b.*)$"
)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                match = COMMAND.search(line.split(" #")[0].strip())
                if match and "..." not in line:
                    found.append((str(page.relative_to(ROOT)), re.split(r" (?:&&|>|\|) ", match.group(1))[0]))
    return found


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_of_the_documentation_exists(page: str, line: str) -> None:
    words = _spell_out(shlex.split(line.replace("[", "").replace("]", "")))
    command: Any = parser(app)
    context = command.context_class(command, info_name="expotion")
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    try:
        command.make_context(str(context.info_name), list(words), parent=context.parent)
    except Exception as error:  # the library's own usage errors; what else is wrong shows as well
        # Files of an example need not be here; options and arguments must be right.
        known = ("does not exist", "No such file")
        if type(error).__name__ != "Exit" and not any(text in str(error) for text in known):
            raise AssertionError(f"{page}: expotion {line}: {error}") from error
