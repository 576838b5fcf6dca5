"""`expotion plugin new`: every kind works as it is written, and nothing half-written is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from expotion.cli.main import run
from expotion.errors import OutputError, PluginError
from expotion.scaffold import write
from expotion.scaffold.write import KINDS, LICENCES, Blueprint, render, write_package


@pytest.mark.slow
def test_every_kind_passes_its_own_tests(tmp_path: Path) -> None:
    folders = [write_package(Blueprint(f"new_{kind}", kind), tmp_path) for kind in KINDS]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder / "src") for folder in folders)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command += ["--rootdir", str(tmp_path), "-c", os.devnull, *map(str, folders)]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(KINDS) + 1} passed" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_is_complete(kind: str) -> None:
    files = dict(render(Blueprint("my-thing", kind, author="Ada", licence="Apache-2.0")))
    project = tomllib.loads(files["pyproject.toml"])
    assert project["project"]["name"] == "expotion-my-thing"
    assert project["project"]["entry-points"]["expotion.plugins"] == {"my_thing": "expotion_my_thing"}
    assert {"README.md", "LICENSE", "recipe.yaml", ".github/workflows/tests.yml"} <= set(files)
    assert "Apache License" in files["LICENSE"]
    assert "expotion-my-thing" in yaml.safe_load(files["recipe.yaml"])["plugins"]
    assert "${{ matrix.python }}" in files[".github/workflows/tests.yml"]
    assert not any(mark in text for text in files.values() for mark in ("<<", "<%"))


@pytest.mark.parametrize("kind", ["video", "audio", "track", "token"])
def test_an_encoder_is_about_forty_lines(kind: str) -> None:
    files = dict(render(Blueprint("short", kind)))
    assert len(files["src/expotion_short/encoder.py"].splitlines()) <= 55


@pytest.mark.parametrize("name", ["Gaze", "1st", "a--b", "a b", "", "class", "naïve"])
def test_a_name_that_python_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match="NAME"):
        Blueprint(name, "video")


def test_all_problems_come_at_once() -> None:
    with pytest.raises(PluginError) as caught:
        Blueprint("No", "film", author='"', licence="mine")
    assert len(caught.value.problems) == 4
    assert all(licence in str(caught.value) for licence in LICENCES)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = write_package(Blueprint("gaze", "metric"), tmp_path)
    before = (made / "README.md").read_text()
    with pytest.raises(OutputError, match="there already"):
        write_package(Blueprint("gaze", "video"), tmp_path)
    assert (made / "README.md").read_text() == before


def test_a_stop_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(blueprint: Blueprint):
        yield "README.md", "half"
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "render", torn)
    with pytest.raises(KeyboardInterrupt):
        write_package(Blueprint("gaze", "video"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugin", "new", "gaze", "--kind", "video", "--dir", str(tmp_path)]) == 0
    assert "pip install -e ." in capsys.readouterr().out
    assert (tmp_path / "expotion-gaze" / "src" / "expotion_gaze" / "encoder.py").is_file()
    assert run(["plugin", "new", "gaze", "--dir", str(tmp_path)]) == 2
    assert "--kind" in capsys.readouterr().err
