"""Help: on every command, with an example, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from expotion.cli.main import app, parser, run

HEAVY = ("torch", "transformers", "librosa", "cv2", "av", "numpy", "pydantic")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, sub in getattr(command, "commands", {}).items():
        yield from commands(sub, (*path, name))


ALL = dict(commands(parser(app)))


def test_the_commands_are_there() -> None:
    wanted = {("recipe", name) for name in ("check", "run", "list", "show", "copy")}
    wanted |= {("plugin", name) for name in ("list", "show", "check")} | {("generate",)}
    assert wanted <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=lambda path: " ".join(path) or "expotion")
def test_each_help_has_an_example_that_names_the_command(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: expotion {' '.join(path)}".rstrip() in shown
    for option in ALL[path].params:
        assert getattr(option, "help", None), f"{option.name} has no help"


def test_help_imports_nothing_heavy_and_takes_a_few_starts_of_python_of_processor_time() -> None:
    def seconds(*arguments: str) -> float:
        best = float("inf")
        for _ in range(2):
            before = os.times()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            after = os.times()
            best = min(best, sum(after[2:4]) - sum(before[2:4]))
        return best

    # Against an import that everybody knows, so that a slow or busy machine does not matter.
    yardstick = seconds("-c", "import numpy, typer")
    started = time.perf_counter()
    code = (
        "import sys; from expotion.cli.main import run; run(['--help'])\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "raise SystemExit(f'imported {heavy}' if heavy else 0)"
    )
    shown = seconds("-c", code)
    assert shown < 2.0 * yardstick + 0.05
    assert time.perf_counter() - started < 60


def test_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("expotion 0.")


@pytest.mark.parametrize("arguments", [["recipe", "walk"], ["recipe", "check"], ["--no-such-option"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Usage" in capsys.readouterr().err


def test_an_argument_stands_in_the_usage_line_without_braces(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: expotion generate [OPTIONS] CLIPS...\n")
