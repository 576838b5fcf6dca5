"""`expotion data ...` as it is typed: what it prints, its exit codes, one clear error for what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from expotion.cli.main import run
from expotion.manifest.rows import read_manifest, write_manifest

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def videos(tmp_path: Path, write: Write) -> Path:
    return write_videos(tmp_path / "videos", write)


def write_videos(folder: Path, write: Write) -> Path:
    for i in range(4):
        path = write(folder / f"v{i}.mp4", seed=i)
        path.with_suffix(".json").write_text(json.dumps({"song": f"s{i % 3}"}))
    (folder / "junk.mp4").write_bytes(b"junk")
    return folder


PREPARE = ["data", "prepare", "videos", "--out", "corpus", "--clip", "2", "--min", "1"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, write: Write) -> Path:
    """A folder in which the videos were prepared; not to be changed."""
    folder: Path = tmp_path_factory.mktemp("prepared")
    write_videos(folder / "videos", write)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPOTION_WORKERS", "1")
        patch.chdir(folder)
        assert run([*PREPARE, "--prompt", "a tune"]) == 0
    return folder


@pytest.fixture
def corpus(prepared: Path, moved: Callable[[Path, Path], None], tmp_path: Path) -> Path:
    moved(prepared, tmp_path)
    return tmp_path / "corpus"


def test_from_a_folder_to_a_split_that_does_not_leak(videos: Path, capsys: Capture) -> None:
    assert run([*PREPARE, "--prompt", "music"]) == 0
    told = capsys.readouterr().out
    assert "dropped videos/junk.mp4: the file cannot be read" in told
    assert "corpus/manifest.jsonl: 8 clips (16 s) of 5 files, 0 without a caption" in told
    assert run(["data", "split", "corpus/manifest.jsonl", "--test", "0.3", "--validation", "0"]) == 0
    told, warned = capsys.readouterr()
    assert "3 groups; 0 cross" in told
    assert "performer is not known of 8 clips" in warned
    assert run(["data", "check", "corpus/split.jsonl"]) == 0
    assert run(["data", "audit", "corpus/split.jsonl"]) == 0
    assert "0 leaks; clips: " in capsys.readouterr().out
    assert run(["data", "stats", "corpus/split.jsonl", "--no-tempo", "--html", "corpus/stats.html"]) == 0
    assert "duration_s        count 8" in capsys.readouterr().out
    assert Path("corpus/stats.html").stat().st_size > 10_000
    assert run(["data", "overview", "corpus/split.jsonl"]) == 0
    assert Path("corpus/split.html").is_file()


def test_a_leaky_split_is_found_and_fails(corpus: Path, capsys: Capture) -> None:
    rows = read_manifest(Path("corpus/manifest.jsonl"))
    leaky = [row.model_copy(update={"split": "test" if row.id.startswith("v3") else "train"}) for row in rows]
    write_manifest(Path("corpus/leaky.jsonl"), leaky, {})
    assert run(["data", "audit", "corpus/leaky.jsonl", "--out", "report.json"]) == 1
    told = capsys.readouterr().out
    assert "leak by song: s0" in told
    assert "song        test: 1 of 1 values, 2 of 2 clips also elsewhere" in told
    assert json.loads(Path("report.json").read_text())["leaks"][0]["by"] == "song"
    assert run(["data", "audit", "corpus/leaky.jsonl", "--by", "performer"]) == 0
    capsys.readouterr()
    assert run(["data", "audit", "corpus/leaky.jsonl", "--no-fingerprints", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["fingerprints"] is False


def test_captions_by_a_captioner_with_options(
    videos: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from pydantic import Field

    import expotion.plugins
    from expotion.contracts import CaptionerSpec, Options, Weights
    from expotion.plugins import Offer, discover

    class WordOptions(Options):
        style: str = "plain"
        loud: int = Field(default=1, ge=0)

    spec = CaptionerSpec(
        "words",
        "words",
        lambda options: lambda clip: f"{options.style} {options.loud} {clip.id}",
        WordOptions,
        weights=lambda options: [Weights("w", "shipped", "MIT")],
    )
    found = discover()
    tables = {**found.tables, "captioner": {"words": Offer(spec, "words", "1")}}
    registry = dataclasses.replace(found, tables=tables)
    monkeypatch.setattr(expotion.plugins, "discover", lambda: registry)
    asked = [*PREPARE, "--captioner", "words", "--caption-style", "scene", "--caption-set", "loud=3"]
    assert run(asked) == 0
    assert "w: licence MIT" in capsys.readouterr().out
    assert read_manifest(Path("corpus/manifest.jsonl"))[0].caption == "scene 3 v0@0.000+2.000"
    for wrong, told in (
        (["--captioner", "words", "--caption-set", "loud=-1"], "captioner 'words': loud"),
        (["--captioner", "words", "--caption-set", "quiet=1"], "quiet: one of style, loud"),
        (["--captioner", "nobody"], "captioner 'nobody'"),
        (["--caption-style", "scene"], "add --captioner"),
        (["--captioner", "words", "--caption-set", "loud"], "NAME=VALUE"),
    ):
        assert run([*PREPARE, *wrong]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["data", "prepare", "nowhere", "--out", "c"], "a source of videos, got nothing there"),
        (["data", "prepare", "videos", "--out", "c", "--clip", "2", "--min", "3"], "0 < --min <= --clip"),
        (["data", "split", "none.jsonl"], "expotion data prepare"),
        (["data", "split", "corpus/manifest.jsonl", "--by", "songs"], "some of recording, song, performer"),
        (["data", "split", "corpus/manifest.jsonl", "--test", "2"], "something left to train on"),
        (["data", "audit", "corpus/manifest.jsonl"], "clips in two splits or more"),
        (["data", "audit", "a.txt", "b.txt"], "nothing there"),
        (["data", "audit", "corpus/manifest.jsonl", "--by", "artist"], "some of path, file_sha256"),
        (["data", "stats", "none.jsonl"], "expotion data prepare"),
        (["data", "overview", "none.jsonl"], "expotion data prepare"),
        (["data", "check", "none.jsonl"], "expotion data prepare"),
        (["data", "export", "nobody", "--out", "v"], "data source 'nobody'"),
        (["data", "export", "manifest", "--out", "v", "--set", "clips=3"], "--set clips (manifest): one of path"),
    ],
)
def test_wrong_input_is_one_clear_error(corpus: Path, capsys: Capture, arguments: list[str], told: str) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not Path("c/manifest.jsonl").exists()


def test_clips_of_a_source_become_files_that_prepare_reads(corpus: Path, capsys: Capture) -> None:
    rows = read_manifest(Path("corpus/manifest.jsonl"))[:2]
    parted = [row.model_copy(update={"split": part}) for row, part in zip(rows, ("train", "test"), strict=True)]
    write_manifest(Path("corpus/two.jsonl"), parted, {})
    asked = ["data", "export", "manifest", "--out", "exported", "--set", "path=corpus/two.jsonl"]
    assert run(asked) == 0
    assert run(asked) == 0  # what is there is kept
    names = sorted(path.relative_to("exported").as_posix() for path in Path("exported").rglob("*.mp4"))
    assert names == ["test/v0_2.000_2.000.mp4", "train/v0_0.000_2.000.mp4"]
    assert Path("exported/train/v0_0.000_2.000.txt").read_text() == "a tune\n"
    assert run(["data", "prepare", "exported", "--out", "again", "--clip", "2", "--min", "1"]) == 0
    again = read_manifest(Path("again/manifest.jsonl"))
    told = [(row.split, row.recording, row.caption, row.duration_s) for row in again]
    assert told == [
        ("test", "v0@2.000+2.000", "a tune", pytest.approx(2.0, abs=0.11)),
        ("train", "v0@0.000+2.000", "a tune", pytest.approx(2.0, abs=0.11)),
    ]
