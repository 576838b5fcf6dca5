"""Commands of plugins: listed, run, and in nobody's way when they are broken."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Iterator

import pytest
import typer

from expotion.cli import main as extra
from expotion.cli.main import run


@pytest.fixture
def plugin_commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = types.ModuleType("expotion_test_commands")
    app = typer.Typer()

    @app.command()
    def measure(times: int = 1) -> None:
        """Measure something of a clip."""
        typer.echo(f"measured {times}")

    module.app = app  # type: ignore[attr-defined]
    module.other = 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "expotion_test_commands", module)
    points = {
        name: importlib.metadata.EntryPoint(name, f"expotion_test_commands:{value}", extra.GROUP)
        for name, value in (("measure", "app"), ("broken", "missing"), ("wrong", "other"), ("recipe", "app"))
    }
    monkeypatch.setattr(extra, "_offered", lambda: points)
    yield


def test_a_command_of_a_plugin_runs(plugin_commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["measure", "--times", "3"]) == 0
    assert "measured 3" in capsys.readouterr().out


def test_help_lists_them_after_our_own(plugin_commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    commands = out[out.index("Commands:") :]
    assert commands.index("generate") < commands.index("measure")
    assert "Measure something of a clip." in out
    assert "is broken" in out


@pytest.mark.parametrize("name", ["broken", "wrong"])
def test_a_broken_one_says_so(plugin_commands: None, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run([name]) == 2
    assert f"command {name!r}" in capsys.readouterr().err


def test_our_own_are_never_replaced(plugin_commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "--help"]) == 0
    assert "measure" not in capsys.readouterr().out.lower()
