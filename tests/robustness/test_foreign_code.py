"""Plugins that end the program, print where samples go, take names that are taken, or misspell a hook."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from media import encode

from expotion import plugins, streams
from expotion.cli import main as cli
from expotion.cli.main import run
from expotion.music import controls

ENCODER = """
from expotion.contracts import EncoderSpec, hookimpl
@hookimpl
def expotion_encoders(): return [EncoderSpec({name!r}, "d", frozenset({{"video"}}), build=lambda options: None)]
"""
BELOW = "import os; os.write(1, b'below\\n'); import ctypes; ctypes.CDLL(None).puts(b'in C');"
Tried = Callable[..., SimpleNamespace]


@pytest.fixture
def tried(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Tried]:
    """A command beside one more installed plugin, a distribution `aaa-faces`, by its source.

    Here, with the log before what was written to standard error, or in a process of its own.
    """
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])
    monkeypatch.setenv("COLUMNS", "300")

    def call(source: str, *arguments: str, apart: bool = False) -> SimpleNamespace:
        site = tmp_path / "site"
        (site / "aaa_faces-0.1.dist-info").mkdir(parents=True, exist_ok=True)
        (site / "aaa_faces.py").write_text(source)
        (site / "aaa_faces-0.1.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: aaa-faces\nVersion: 0.1\n"
        )
        points = "[expotion.plugins]\naaa_faces = aaa_faces\n[expotion.commands]\nfaces = aaa_faces\n"
        (site / "aaa_faces-0.1.dist-info" / "entry_points.txt").write_text(points)
        if apart:
            code = f"import sys; sys.path.append({str(site)!r}); from expotion.cli.main import main; main()"
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
            )
            return SimpleNamespace(returncode=done.returncode, out=done.stdout, err=done.stderr)
        importlib.invalidate_caches()
        caplog.clear()
        forget()
        returncode = run([*arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(
            returncode=returncode, out=out, err="".join([*map("{}\n".format, caplog.messages), err])
        )

    yield call
    forget()


def forget() -> None:
    """What this process knows of installed plugins."""
    sys.modules.pop("aaa_faces", None)
    plugins._discover_installed.cache_clear()
    cli._offered.cache_clear()


def test_a_plugin_that_exits_is_broken_and_skipped(tried: Tried) -> None:
    done = tried("import sys; sys.exit('no licence')", "plugin", "show", "beat_f1", apart=True)
    assert done.returncode == 0
    assert done.err == "the plugin aaa-faces is broken and skipped: SystemExit: no licence\n"
    assert done.out.startswith("beat_f1: metric of expotion")
    done = tried("import sys; sys.exit(0)", "faces")
    assert done.returncode == 2
    assert "command 'faces': a plugin that can be loaded, got aaa-faces, broken: SystemExit: 0" in done.err


def test_what_a_plugin_prints_is_not_on_standard_output(tried: Tried) -> None:
    done = tried(f"print('hello'); {BELOW}", "plugin", "show", "beat_f1")
    assert done.out.startswith("beat_f1: metric of expotion")
    assert sorted(done.err.splitlines()) == ["below", "hello", "in C"]


def test_an_encoder_of_a_taken_name_is_the_foreign_one(tried: Tried) -> None:
    pytest.importorskip("expotion_face_marlin")
    done = tried(ENCODER.format(name="face_marlin"), "plugin", "list")
    assert done.returncode == 2
    assert done.err.endswith("uninstall one of them: uv remove aaa-faces\n"), done.err


def test_a_misspelt_hook_does_not_stop_commands_that_need_nothing_of_it(tried: Tried) -> None:
    source = ENCODER.format(name="smile") + "\n@hookimpl\ndef expotion_metrix(): return []\n"
    done = tried(source, "plugin", "list")
    assert done.returncode == 0
    told = "'expotion_metrix' is no hook: did you mean 'expotion_metrics'?"
    assert f"aaa-faces is broken and skipped: {told}" in done.err and f"broken: {told}" in done.out
    done = tried(source, "plugin", "check", "smile")
    assert done.returncode == 2
    assert f"the plugin aaa-faces that offers it is broken, got {told}; reinstall or update aaa-faces" in done.err


def test_the_same_apart_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    with streams.apart():
        print("foreign")
        with streams.apart():
            print("inside")
        os.write(streams.standard_output(), b"ours\n")
        os.write(1, b"below\n")
    print("after")
    shown = capfd.readouterr()
    assert shown.out == "ours\nafter\n"
    assert sorted(shown.err.splitlines()) == ["below", "foreign", "inside"]


def test_samples_stay_alone_while_an_encoder_prints(
    finished: Path,
    in_the_world_of_lamps: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    pytest.importorskip("expotion_live")
    extract = controls.extract_many

    def talking(*arguments: Any, **options: Any) -> Any:
        print("a face!")
        os.write(1, b"below\n")
        return extract(*arguments, **options)

    monkeypatch.setattr(controls, "extract_many", talking)
    clip = encode(tmp_path / "clip.mp4", n=30, fps=30)
    assert run(["play", str(clip), "--to", "-", "--adaptor", str(finished)]) == 0
    shown = capfdbinary.readouterr()
    assert len(shown.out) == 2 * 32_000
    assert b"a face!" in shown.err and b"below" in shown.err and b"1.0 s of music" in shown.err
