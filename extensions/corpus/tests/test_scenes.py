"""`data scenes`: records of clips by captioners, what is left out, what is kept when it is run again."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import expotion.plugins
from expotion.cli.main import run
from expotion.contracts import CaptionerSpec, Clip, MetricSpec, Options
from expotion.errors import MediaError, Problem
from expotion.manifest.rows import Row, read_manifest, write_manifest
from expotion.plugins import Offer, discover
from expotion_corpus import scenes
from expotion_corpus.scenes import NOT_LOOKED_FOR
from expotion_corpus.tables import read_table

asked: list[str] = []


class WordOptions(Options):
    style: str = "plain"
    loud: int = 1


def _said(options: Any) -> Callable[[Clip], str]:
    def say(clip: Clip) -> str:
        asked.append(f"{options.style} {clip.id}")
        if options.style == "video" and clip.id == "dark":
            raise MediaError(Problem(clip.id, "a picture to see", "none"))
        return f"{options.style} {options.loud} of {clip.id}"

    return say


def _fused(options: Any) -> Callable[[Clip], str]:
    def fuse(clip: Clip) -> str:
        asked.append(f"scene {clip.id}")
        assert clip.caption is not None and clip.audio(8_000) is None and clip.video is None
        return " and ".join(clip.caption.splitlines())

    return fuse


@pytest.fixture
def rows(row: Callable[..., Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Row]]:
    specs = [CaptionerSpec("words", "w", _said, WordOptions), CaptionerSpec("fuser", "f", _fused, Options)]
    found = discover()
    tables = {**found.tables, "captioner": {spec.name: Offer(spec, spec.name, "1") for spec in specs}}
    registry = dataclasses.replace(found, tables={**tables, "metric": {}})
    monkeypatch.setattr(expotion.plugins, "discover", lambda: registry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setitem(sys.modules, "silero_vad", None)  # as where it is not installed
    asked.clear()
    for cached in (scenes._built, scenes._listener, scenes._classes):
        cached.cache_clear()
    made = [
        row("sea", song="one"),
        row("dark", song="two"),
        row("still", silent_fraction=0.99),
        row("road", song="three", performer="anna"),
    ]
    for one in made:
        one.file(tmp_path).write_bytes(b"video")
    write_manifest(tmp_path / "manifest.jsonl", made, {})
    yield made
    scenes._built.cache_clear()


COMMAND = ["data", "scenes", "manifest.jsonl", "--out", "made", "--video", "words", "--music", "words"]
COMMAND += ["--scene", "fuser", "--set", "music.loud=3"]


def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("made/scenes.jsonl").read_text().splitlines()]


def test_a_record_has_both_captions_and_their_scene(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(COMMAND) == 0
    told = capsys.readouterr().out
    first, second = records()
    assert (first["id"], second["id"]) == ("sea", "road")
    assert first["video_caption"] == "video 1 of sea" and first["music_caption"] == "music 3 of sea"
    assert first["scene"] == "music 3 of sea and video 1 of sea"
    assert first["speech"] == first["singing"] == NOT_LOOKED_FOR
    assert "still is left out: silence" in told and "dark has no video caption" in told and "2 records" in told
    assert "speech is not looked for" in told and "singing is not looked for" in told
    made = read_manifest(Path("made/manifest.jsonl"), files=True)
    assert [(one.caption, one.song, one.performer) for one in made] == [
        (first["scene"], "one", None),
        (second["scene"], "three", "anna"),
    ]


def test_what_was_said_is_not_asked_for_again(rows: list[Row]) -> None:
    assert run(COMMAND) == 0
    before = len(asked)
    assert run(COMMAND) == 0
    assert asked[before:] == ["video dark"]  # refused before, and asked again
    assert run([*COMMAND, "--set", "video.loud=2"]) == 0
    assert sorted(asked[before + 1 :]) == sorted(
        ["video sea", "video dark", "video road", "scene sea", "scene road"]
    )


def test_the_records_are_a_table_that_prepare_reads(rows: list[Row]) -> None:
    assert run(COMMAND) == 0
    problems: list[Problem] = []
    items = read_table(Path("made/scenes.jsonl"), Path(), problems)
    assert not problems
    assert [item.caption for item in items] == [record["scene"] for record in records()]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--video", "nobody"], "captioner 'nobody'"),
        (["--set", "loud=2"], "video.NAME, music.NAME, scene.NAME"),
        (["--set", "scene.loud=2"], "--set scene.loud"),
    ],
)
def test_wrong_input_is_one_clear_error(
    rows: list[Row], capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert run([*COMMAND, *more]) == 2
    assert told in capsys.readouterr().err
    assert not Path("made/scenes.jsonl").exists()


def test_speech_and_singing_are_shares(rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    def spans(samples: Any, model: Any, sampling_rate: int) -> list[dict[str, int]]:
        assert (model, sampling_rate) == ("model", 16_000)
        return [{"start": 0, "end": len(samples) // 4}]

    silero = SimpleNamespace(load_silero_vad=lambda onnx: "model", get_speech_timestamps=spans)
    monkeypatch.setitem(sys.modules, "silero_vad", silero)
    assert scenes._speech(np.zeros(16_000, np.float32)) == 0.25

    def classes() -> Callable[[Any], Any]:
        rows_ = np.zeros((2, 527), np.float32)
        rows_[:, 0], rows_[:, 26], rows_[:, 32], rows_[:, 38] = 0.9, 0.9, (0.2, 0.4), 0.9
        return lambda scored: rows_

    spec = MetricSpec("inception_score_passt", "m", classes, True, over="set", sample_rate_hz=32_000)
    registry = expotion.plugins.discover()
    heard = dataclasses.replace(registry, tables={**registry.tables, "metric": {spec.name: Offer(spec, "p", "1")}})
    monkeypatch.setattr(expotion.plugins, "discover", lambda: heard)
    from expotion.testing import SyntheticClip

    voices = scenes.Voices(True, spec.name)(SyntheticClip())
    assert voices["speech"] == 0.25 and voices["singing"] == pytest.approx(0.3)
