"""Clips of a manifest for recipes: what they give, and what is said of files that are not what was prepared."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expotion.errors import MediaError
from expotion.manifest.rows import ManifestError, ManifestOptions, Row, read_manifest, write_manifest
from expotion.manifest.source import ManifestClip, ManifestSource
from expotion.video.clip import FileClip
from expotion_corpus.examine import Settings
from expotion_corpus.prepare import prepare
from expotion_corpus.stats import verify

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, write: Write, examine_all: Any) -> Path:
    """Five clips of two files: 4 + 4 + 2 s and 4 + 2 s, split by hand; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("prepared")
    write(folder / "v" / "a.mp4", seed=1, seconds=10.0)
    write(folder / "v" / "b.mp4", seed=2, seconds=6.0)
    settings = Settings(4.0, 4.0, 2.0)
    rows = prepare(folder / "v", folder / "corpus", settings, examine_all(settings)).rows
    split = [row.model_copy(update={"split": "train" if "a@" in row.id else "test"}) for row in rows]
    write_manifest(folder / "corpus" / "split.jsonl", split, {})
    return folder


@pytest.fixture
def manifest(prepared: Path, tmp_path: Path, moved: Callable[[Path, Path], None]) -> Path:
    """A copy of it that may be changed."""
    moved(prepared, tmp_path)
    return tmp_path / "corpus" / "split.jsonl"


def source(manifest: Path, **options: Any) -> ManifestSource:
    return ManifestSource(ManifestOptions(path=manifest, **options))


def change(manifest: Path, **fields: Any) -> ManifestClip:
    """The first clip with a row that says otherwise."""
    row = read_manifest(manifest)[0].model_copy(update=fields)
    return ManifestClip(row, manifest.parent)


def test_clips_are_stretches_of_files(manifest: Path) -> None:
    train, test = source(manifest).clips("train"), source(manifest).clips("test")
    assert [clip.duration_s for clip in train] == [4.0, 4.0, 2.0]
    assert [clip.duration_s for clip in test] == [4.0, 2.0]
    assert len(source(manifest, train_clips=1).clips("train")) == 1
    second = pickle.loads(pickle.dumps(train[1]))
    assert second.video is not None
    assert float(second.video.frame_times_s[-1]) < 4.0
    samples = second.audio(16_000)
    assert samples is not None
    assert len(samples) == 64_000
    whole = FileClip(second.path).audio(16_000)
    assert whole is not None
    assert np.abs(samples[1000:-1000] - whole[65_000:127_000]).max() < 0.02
    second.close()


def test_features_are_shared_with_clips_of_files(manifest: Path) -> None:
    first = source(manifest).clips("train")[0]
    assert first.content_hash == FileClip(first.path, 0.0, 4.0).content_hash
    row = first.row.model_copy(update={"duration_s": 10.0, "whole": True})
    assert ManifestClip(row, manifest.parent).content_hash == FileClip(first.path).content_hash


def test_a_split_without_clips_says_what_there_is(manifest: Path, row: Callable[..., Row]) -> None:
    with pytest.raises(ManifestError, match="5 clips: 3 train, 0 validation, 2 test"):
        source(manifest, split="validation").clips("test")
    rows = [one.model_copy(update={"split": None}) for one in read_manifest(manifest)]
    write_manifest(manifest, rows[:1], {})
    with pytest.raises(ManifestError, match="expotion data split"):
        source(manifest).clips("train")


def test_missing_files_are_listed_before_anything_runs(manifest: Path) -> None:
    (manifest.parent.parent / "v" / "b.mp4").unlink()
    with pytest.raises(ManifestError) as error:
        source(manifest).clips("train")
    assert len(error.value.problems) == 2  # both clips of that file
    assert "split.jsonl:4: a file that is there" in str(error.value)


def test_a_file_that_changed_is_refused(manifest: Path, write: Write) -> None:
    clip = source(manifest).clips("train")[0]
    write(clip.path, seed=9, seconds=10.0)
    with pytest.raises(MediaError, match="the file that was prepared, got another content"):
        clip.audio(16_000)


def test_a_row_that_asks_for_more_than_the_file_holds(manifest: Path) -> None:
    with pytest.raises(MediaError, match=r"20\.000 s from 0\.000 s on, got a file of 10\.000 s"):
        change(manifest, duration_s=20.0).audio(16_000)


def test_a_row_with_a_wrong_sample_rate(manifest: Path) -> None:
    with pytest.raises(MediaError, match=r"sample_rate_hz: 44100 Hz, got 8000 Hz"):
        change(manifest, sample_rate_hz=44_100).audio(16_000)


def test_check_finds_everything_at_once(manifest: Path, write: Write) -> None:
    rows, problems = verify(manifest)
    assert (len(rows), problems) == (5, [])
    wrong = [
        row.model_copy(update={"sample_rate_hz": 1, "duration_s": 99.0}) if i == 1 else row
        for i, row in enumerate(rows)
    ]
    write_manifest(manifest, wrong, {})
    (manifest.parent.parent / "v" / "b.mp4").write_bytes(b"changed")
    _, problems = verify(manifest)
    told = [str(problem) for problem in problems]
    assert len(told) == 3
    assert "99.000 s from 4.000 s on" in told[0]
    assert "sample_rate_hz: 1 Hz, got 8000 Hz" in told[1]
    assert "another content" in told[2]
    (manifest.parent.parent / "v" / "b.mp4").unlink()
    assert any("b@0.000+4.000 and 1 more clips" in str(problem) for problem in verify(manifest)[1])


def test_the_validation_part_is_watched_or_evaluated_on(manifest: Path) -> None:
    rows = read_manifest(manifest)
    write_manifest(manifest, [*rows[:2], rows[2].model_copy(update={"split": "validation"}), *rows[3:]], {})
    assert [clip.id for clip in source(manifest).validation()] == [rows[2].id]
    assert len(source(manifest).clips("train")) == 2
    evaluated = source(manifest, split="validation")
    assert [clip.id for clip in evaluated.clips("test")] == [rows[2].id]
    assert list(evaluated.validation()) == []
