"""Commands of plugins: listed, run, and in nobody's way when they are broken."""

from __future__ import annotations

import importlib.metadata
import subprocess
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
    for name in ("measure", "broken", "wrong"):
        assert f"  {name} " in commands


def test_help_imports_none_of_them() -> None:
    code = (
        "import sys; from expotion.cli.main import run; run(['--help'])\n"
        "found = [name for name in sys.modules if name.startswith('expotion_')]\n"
        "raise SystemExit(f'imported {found}' if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, (_, line) in extra.EXTENSIONS.items():
        assert f"  {name} " in done.stdout and line[:30] in done.stdout


@pytest.mark.parametrize("name", extra.EXTENSIONS)
def test_an_extension_that_is_not_installed_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extra, "_offered", dict)
    package, _ = extra.EXTENSIONS[name]
    assert run([name, "--port", "1"]) == 2
    wanted = f"command '{name}': comes with {package}, which is not installed; install it: uv add {package}"
    assert wanted in capsys.readouterr().err
    assert run(["--help"]) == 0
    assert f"uv add {package}" in " ".join(capsys.readouterr().out.split())


def test_our_table_names_the_distributions_that_bring_the_commands() -> None:
    for name, point in extra._offered().items():
        assert point.dist is not None
        assert extra.EXTENSIONS.get(name, (point.dist.name,))[0] == point.dist.name


@pytest.mark.parametrize("name", ["broken", "wrong"])
def test_a_broken_one_says_so(plugin_commands: None, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run([name]) == 2
    assert f"command {name!r}" in capsys.readouterr().err


def test_our_own_are_never_replaced(plugin_commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipe", "--help"]) == 0
    assert "measure" not in capsys.readouterr().out.lower()
