"""Every command in the documentation is one that exists, with options and files that exist.

`.ci/commands` runs them, each page's in a folder of its own.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from documented import NOT_RUN, ROOT, SIZES, shown

from expotion.cli.main import _spell_out, app, parser
from expotion.recipe import load_recipe

COMMAND = re.compile(r"(?:^|[\s/])expotion ((?:recipe|plugin|models|features|data|adaptor|study|[a-z]+)\b.*)$")
OURS = re.compile(
    r"(?:^|\s)((?:recipes|benchmarks|tests|plugins|examples|\.ci|core|extensions|docs)/[\w./-]*[\w-])"
)


def commands() -> list[tuple[str, str]]:
    found = []
    for each in shown():
        match = COMMAND.search(each.text)
        if match:
            found.append((each.page, re.split(r" (?:&&|>|\|) ", match[1])[0]))
    return found


def test_there_are_commands_to_check() -> None:
    pages = {page for page, _ in commands()}
    assert len(commands()) > 80 and len(pages) > 15


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_of_the_documentation_exists(page: str, line: str) -> None:
    words = _spell_out(shlex.split(line))
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


def test_the_files_of_the_repository_that_commands_name_are_there() -> None:
    named = {(each.page, path) for each in shown() for path in OURS.findall(each.text)}
    assert len(named) > 20
    assert [(page, path) for page, path in sorted(named) if not (ROOT / path).exists()] == []


def test_what_is_not_run_is_shown_and_little() -> None:
    """Every reason for not running a command is needed by one, and most commands of ours are run."""
    texts = [each.text for each in shown()]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, text) for text in texts)] == []
    ours = [each for each in shown() if COMMAND.search(each.text) and not each.text.startswith("environment/")]
    left_out = [each for each in ours if each.why_not_run]
    assert len(left_out) < 0.3 * len(ours)


def test_the_sizes_that_runs_are_reduced_to_are_a_recipes_fields(tmp_path: Path) -> None:
    recipe = load_recipe(ROOT / "recipes/face_motion.yaml", registry=None, sets=SIZES.split())
    assert (recipe.train.steps, recipe.generate.samples, recipe.evaluate.bootstrap) == (4, 1, 20)
