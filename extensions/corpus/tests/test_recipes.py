"""Recipes over manifests, in the small world of lamps: unequal lengths, clips that fail, one clip, lost files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lamp_world
import numpy as np
import pytest
import soundfile
from lamp_fixtures import among_lamps

from expotion.cli.main import run
from expotion.contracts import TimedFeatures
from expotion.manifest.rows import Row, read_manifest, write_manifest
from expotion.plugins import Registry, discover
from expotion_corpus.examine import Settings
from expotion_corpus.prepare import prepare

RECIPE = """\
name: own
data: {{source: manifest, path: "{manifest}"}}
backbone: {{source: lamps}}
text: {{encoder: text_t5, prompt: caption}}
conditions:
  - {{name: glow, encoder: glow, rank: 2}}
train: {{steps: 2, batch_size: 2, warmup_steps: 0, precision: fp32}}
generate: {{batch_size: 2, samples: 1, top_k: 8, precision: fp32}}
evaluate: {{metrics: [loudness], conditions: [glow, shuffled], bootstrap: 20}}
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def lamps_and_manifests(lamps: Registry) -> Registry:
    manifest = discover().offer("data source", "manifest")
    sources = {**lamps.offers("data source"), "manifest": manifest}
    return dataclasses.replace(lamps, tables={**lamps.tables, "data source": sources})


@pytest.fixture(autouse=True)
def _among_lamps(lamps_and_manifests: Registry, tmp_path: Path) -> Iterator[None]:
    with among_lamps(lamps_and_manifests, tmp_path / "cache"):
        yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path], examine_all: Any) -> Path:
    """Three files of 1.3 s: each a clip of 0.5 s, another, and one of 0.3 s; the last file is for testing."""
    folder: Path = tmp_path_factory.mktemp("own")
    for i in range(3):
        write(folder / "v" / f"v{i}.mp4", seed=i, seconds=1.3)
    settings = Settings(0.5, 0.5, 0.25)
    rows = prepare(folder / "v", folder / "corpus", settings, examine_all(settings), prompt="calm").rows
    parted = [row.model_copy(update={"split": "test" if row.id[1] == "2" else "train"}) for row in rows]
    write_manifest(folder / "corpus" / "split.jsonl", parted, {})
    return folder


@pytest.fixture
def manifest(corpus: Path, tmp_path: Path, moved: Callable[[Path, Path], None]) -> Path:
    moved(corpus, tmp_path)
    return tmp_path / "corpus" / "split.jsonl"


def start(manifest: Path, *sets: str) -> tuple[int, Path]:
    """Exit code and run folder of a recipe over a manifest."""
    recipe, out = manifest.parent / "own.yaml", manifest.parent / "run"
    recipe.write_text(RECIPE.format(manifest=manifest))
    options = [part for one in sets for part in ("--set", one)]
    return run(["recipe", "run", str(recipe), "--out", str(out), *options]), out


def test_clips_of_unequal_lengths_train_and_are_made_as_long_as_they_are(manifest: Path) -> None:
    code, out = start(manifest)
    assert code == 0
    state = json.loads((out / "run.json").read_text())
    assert state["stages"]["training"]["clips"] == 6
    seconds = {row.id: row.duration_s for row in read_manifest(manifest) if row.split == "test"}
    assert sorted(seconds.values()) == pytest.approx([0.3, 0.5, 0.5])
    for name, length_s in seconds.items():
        [path] = [path for path in out.glob("samples/glow/*.wav") if soundfile_name(path) == name]
        samples, rate_hz = soundfile.read(path)
        assert len(samples) == round(length_s * rate_hz)


def soundfile_name(path: Path) -> str:
    return path.name.removesuffix(".wav")


def test_one_clip_to_train_on_and_one_to_test(manifest: Path) -> None:
    rows = read_manifest(manifest)
    write_manifest(manifest, [rows[0], rows[-2]], {})
    code, out = start(manifest)
    assert code == 0
    assert (out / "adaptor" / "adaptor.safetensors").is_file()


def test_only_one_clip_is_one_clear_error(manifest: Path, capsys: Capture) -> None:
    write_manifest(manifest, read_manifest(manifest)[:1], {})
    code, _ = start(manifest)
    told = capsys.readouterr().err
    assert code == 2
    assert "1 clips: 1 train, 0 validation, 0 test" in told
    assert "Traceback" not in told


def test_clips_whose_features_fail_or_are_nan_are_dropped_and_reported(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    extract = lamp_world.Light.extract

    def wrong(self: Any, clip: Any) -> TimedFeatures:
        if clip.id.startswith("v0@0.0"):
            raise RuntimeError("no face in any frame")
        found: TimedFeatures = extract(self, clip)
        if clip.id.startswith("v1@0.0"):
            return TimedFeatures(found.values * np.float32("nan"), found.times_s, found.valid)
        return found

    monkeypatch.setattr(lamp_world.Light, "extract", wrong)
    code, out = start(manifest)
    told = capsys.readouterr()
    assert code == 0
    state = json.loads((out / "run.json").read_text())
    assert state["stages"]["training"]["clips"] == 4
    log = (out / "log.txt").read_text()
    for text in (log, told.out + told.err):
        assert "v0@0.000+0.500" in text
        assert "no face in any frame" in text
        assert "v1@0.000+0.500" in text
        assert "finite values, got NaN or infinity" in text
    assert "no face in any frame" in (out / "report.html").read_text()


def test_a_modality_without_features_for_every_clip_is_one_error(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def nothing(self: Any, clip: Any) -> TimedFeatures:
        raise RuntimeError("no face in any frame")

    monkeypatch.setattr(lamp_world.Light, "extract", nothing)
    code, out = start(manifest)
    told = capsys.readouterr().err
    assert code == 1
    assert "at least one usable test clip" in told
    assert not (out / "adaptor" / "adaptor.safetensors").exists()


def test_lost_files_stop_the_run_before_it_begins(manifest: Path, capsys: Capture) -> None:
    (manifest.parent.parent / "v" / "v1.mp4").unlink()
    code, out = start(manifest)
    told = capsys.readouterr().err
    assert code == 2
    assert told.count("a file that is there") == 3
    assert not list(out.glob("samples/**/*.wav"))


def test_rows_that_do_not_fit_their_files_are_dropped_and_reported(manifest: Path) -> None:
    def changed(row: Row) -> Row:
        if row.id.startswith("v0@0.0"):
            return row.model_copy(update={"sample_rate_hz": 44_100})
        if row.id.startswith("v1@0.5"):
            return row.model_copy(update={"duration_s": 9.0})
        return row

    write_manifest(manifest, [changed(row) for row in read_manifest(manifest)], {})
    code, out = start(manifest)
    assert code == 0
    log = (out / "log.txt").read_text()
    assert "sample_rate_hz: 44100 Hz, got 8000 Hz" in log
    assert "9.000 s from 0.500 s on" in log
    assert json.loads((out / "run.json").read_text())["stages"]["training"]["clips"] == 4


def test_a_manifest_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "corpus").mkdir()
    code, _ = start(tmp_path / "corpus" / "none.jsonl")
    assert code == 2
    assert "expotion data prepare" in capsys.readouterr().err


def test_the_validation_part_is_what_training_is_watched_by(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from expotion.run import training as training_stage

    given: list[tuple[int, int]] = []
    split = training_stage.split_validation

    def spy(examples: Any, at_most: int, n_given: int) -> Any:
        train, validation = split(examples, at_most, n_given)
        given.append((len(train), 0 if validation is None else len(validation)))
        return train, validation

    monkeypatch.setattr(training_stage, "split_validation", spy)
    rows = read_manifest(manifest)
    parted = [row.model_copy(update={"split": "validation"}) if row.id[1] == "1" else row for row in rows]
    write_manifest(manifest, parted, {})
    code, out = start(manifest)
    assert code == 0
    assert given == [(3, 3)]
    steps = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert np.isfinite(steps[-1]["validation_loss"])
