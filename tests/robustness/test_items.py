"""Many items at once: what one of them does takes nothing of the others away."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from media import encode

from expotion.cli.main import run
from expotion.manifest.rows import read_manifest
from expotion.music import make
from expotion.plugins import Registry

Start = Callable[..., int]
NO_UTF8 = os.fsdecode(b"bad\xff.mp4")


@pytest.fixture
def generate(in_the_world_of_lamps: None, lamps: Registry, finished: Path) -> Start:
    """`expotion generate ARGUMENTS --adaptor RUN` in this process; returns the exit code."""
    return lambda *given: run(["generate", *map(str, given), "--adaptor", str(finished)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three clips, one of whose names is no UTF-8."""
    if sys.platform == "darwin":
        pytest.skip("the file system takes UTF-8 names only")
    clips = tmp_path / "clips"
    clips.mkdir()
    for n, name in enumerate(("a.mp4", NO_UTF8, "c.mp4"), start=9):
        encode(clips / name, n=n, sound="aac", rate_hz=44_100)
    return clips


def test_a_folder_with_a_name_that_is_no_utf8(
    generate: Start, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert generate(folder, "--out", out, "-f", "wav") == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [made["clip"] for made in report["made"]] == [str(folder / n) for n in sorted(os.listdir(folder))]
    record = json.loads((out / NO_UTF8).with_suffix(".json").read_text(encoding="utf-8"))
    assert record["asked"]["clip"]["file"] == str(folder / NO_UTF8)
    assert "3 made, 0 already there, 0 failed" in capsys.readouterr().out
    assert generate(folder, "--out", out, "-f", "wav") == 0
    assert "3 clips are done already" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_alone(
    generate: Start, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(folder / NO_UTF8, "--out", tmp_path / "out") == 0
    assert r"bad\udcff.mp4" in capsys.readouterr().out
    assert run(["again", str((tmp_path / "out" / NO_UTF8).with_suffix(".json"))]) == 0
    assert "The same bytes" in capsys.readouterr().out


def test_a_name_that_is_no_utf8_in_features_show(
    in_the_world_of_lamps: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    shown = run(["features", "show", str(folder / NO_UTF8), "--encoder", "glow", "--out", str(page)])
    assert shown == 0, capsys.readouterr()
    assert r"bad\udcff" in page.read_text(encoding="utf-8")


def test_a_name_that_is_no_utf8_in_data_prepare(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    out = tmp_path / "corpus"
    prepared = run(["data", "prepare", str(folder), "--out", str(out), "--min", "0.2"])
    assert prepared == 0, capsys.readouterr()
    rows = read_manifest(out / "manifest.jsonl", files=True)
    assert {row.id for row in rows} == {"a", r"bad\udcff", "c"}
    assert {row.file(out) for row in rows} == set(folder.iterdir())
    assert run(["data", "check", str(out / "manifest.jsonl")]) == 0


@pytest.mark.parametrize(
    "fault", [SystemExit(3), UnicodeError("odd"), AssertionError(), MemoryError(), StopIteration()]
)
def test_whatever_is_raised_for_one_clip_is_that_clips_failure(
    generate: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    real = make.write_files

    def write(target: make.Target, *given: object) -> list[Path]:
        if target.clip.name == "a.mp4":
            raise fault
        return real(target, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(make, "write_files", write)
    assert generate(folder, "--out", tmp_path / "out", "-f", "wav") == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [failed["clip"] for failed in report["failed"]] == [str(folder / "a.mp4")]
    assert len(report["made"]) == 2
