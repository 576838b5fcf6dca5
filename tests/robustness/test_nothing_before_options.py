"""Nothing is made before everything that was asked for has been looked at: every command that has --out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from media import encode

from expotion.cli.main import app, run

CLIP = "clip.mp4"
REFUSED: dict[str, list[list[str]]] = {
    "generate": [
        [CLIP, "--samples", "0"],
        [CLIP, "--depth", "5"],
        [CLIP, "--format", "nope"],
        [CLIP, "--loudness", "3"],
        [CLIP, "--jobs", "-1"],
        [CLIP, "--jobs", "1", "--ray", "local"],
        [CLIP, "--temperature", "-1"],
        [CLIP, "--strength", "nope=1"],
        [CLIP, "--control", "glow=nowhere.mp4"],
        [CLIP, "--steering", "nowhere.yaml"],
        [CLIP, "--adaptor", "nowhere"],
        [CLIP, "--backbone", "nowhere"],
        [CLIP, "--no-such-option"],
        ["nowhere.mp4"],
        ["empty"],
        ["notes.txt"],
    ],
    "again": [["nowhere.json"], ["notes.txt"], ["empty.json"]],
    "recipe run": [["nowhere"], ["lamps.yaml", "--set", "train.nope=1"], ["lamps.yaml", "--set", "train.steps=x"]],
    "features extract": [["nowhere.mp4", "--encoder", "glow"], [CLIP, "--encoder", "nope"], [CLIP]],
    "features show": [["nowhere.mp4", "--encoder", "glow"], [CLIP, "--encoder", "nope"], ["notes.txt"]],
    "adaptor pull": [["nowhere"], ["empty"]],
    "data prepare": [
        ["nowhere"],
        ["empty"],
        ["clips", "--min", "5", "--clip", "2"],
        ["clips", "--hop", "0"],
        ["clips", "--codes", "nowhere"],
        ["clips", "--captioner", "nope"],
        ["clips", "--caption-style", "short"],
        ["notes.csv"],
    ],
    "data scenes": [["nowhere"], ["empty"], ["notes.csv"]],
    "data split": [
        ["nowhere.jsonl"],
        ["empty.jsonl"],
        ["empty.jsonl", "--test", "2"],
        ["empty.jsonl", "--by", "nope"],
    ],
    "data audit": [["nowhere.txt"], ["empty.jsonl", "--by", "nope"]],
    "data overview": [["nowhere.jsonl"], ["empty.jsonl"], ["empty.jsonl", "--most", "0"]],
    "data export": [["nope"], ["lamps", "--set", "nope=1"]],
    "live": [
        ["nowhere.mp4"],
        [CLIP, "--hop", "-1"],
        [CLIP, "--strength", "nope=1"],
        [CLIP, "--adaptor", "nowhere"],
    ],
    "study build": [["nowhere"], ["runs", "--intro", "nowhere.txt"], ["runs", "--ratings", "-3"]],
    "study results": [["nowhere"], ["empty"]],
}
"""What each command refuses, in a folder that holds a clip, folders and files without anything in them."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe_file: Path, finished: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / CLIP)
    for folder in ("empty", "clips", "runs"):
        (tmp_path / folder).mkdir()
    encode(tmp_path / "clips" / CLIP)
    for file in ("notes.txt", "notes.csv", "empty.json", "empty.jsonl"):
        (tmp_path / file).write_text("")
    (tmp_path / "lamps.yaml").write_text(recipe_file.read_text())
    (tmp_path / "adaptor").symlink_to(finished)
    return tmp_path


def with_out(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Names of all commands that have --out, those of extensions too."""
    if hasattr(command, "list_commands"):
        context = command.context_class(command)
        for name in command.list_commands(context):
            yield from with_out(command.get_command(context, name), (*path, name))
    elif any("--out" in option.opts for option in command.params):
        yield " ".join(path)


def test_every_command_with_out_is_here() -> None:
    assert set(with_out(typer.main.get_command(app))) == REFUSED.keys()


@pytest.mark.usefixtures("in_the_world_of_lamps")
@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_makes_nothing(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = sorted(here.rglob("*"))
    adaptor = ["--adaptor", "adaptor"] if command in ("generate", "live") else []
    for refused in REFUSED[command]:
        for out in ("new/deep/out", "new/deep/out.wav"):
            options = [*adaptor, *refused] if "--adaptor" not in refused else refused
            assert run([*command.split(), *options, "--out", out]) != 0, refused
            assert "fault in expotion" not in capsys.readouterr().err
            assert sorted(here.rglob("*")) == there, refused
