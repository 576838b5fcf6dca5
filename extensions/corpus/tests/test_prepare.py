"""From files to a manifest: what is kept, dropped, completed, remembered and reported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expotion.contracts import Clip
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.manifest.rows import ManifestError, Row, read_header, read_manifest, write_manifest
from expotion.plugins import core_version
from expotion_corpus.examine import Settings
from expotion_corpus.prepare import Prepared, prepare
from expotion_corpus.work import with_captions

SETTINGS = Settings(4.0, 4.0, 3.0)
Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, write: Write) -> Path:
    videos = tmp_path / "videos"
    for i in range(3):
        path = write(videos / f"v{i}.mp4", seed=i)
        path.with_suffix(".json").write_text(json.dumps({"song": f"s{i}"}))
    (videos / "v0.txt").write_text("tune 0")
    write(videos / "quiet.mp4", sound=np.zeros(32_000, np.float32))
    (videos / "broken.mp4").write_bytes(b"no video")
    return videos


def made_of(source: Path, out: Path, examine_all: Any, **options: Any) -> Prepared:
    return prepare(source, out, SETTINGS, examine_all, **options)


def test_rows_report_and_header(tmp_path: Path, folder: Path, examine_all: Any) -> None:
    run = examine_all(SETTINGS)
    made = made_of(folder, tmp_path / "corpus", run, prompt="music")
    assert [(r.id, r.caption, r.song) for r in made.rows] == [
        ("v0", "tune 0", "s0"),
        ("v1", "music", "s1"),
        ("v2", "music", "s2"),
    ]
    assert read_manifest(tmp_path / "corpus" / "manifest.jsonl", files=True) == made.rows
    reasons = {Path(drop["where"]).name: drop["reason"] for drop in made.report["dropped"]}
    assert set(reasons) == {"quiet.mp4", "broken.mp4"}
    assert reasons["quiet.mp4"] == "100% silent"
    header = read_header(tmp_path / "corpus" / "manifest.jsonl")
    assert header["settings"]["clip_s"] == 4.0
    assert (header["clips"], header["prompt"], header["versions"]) == (3, "music", {"expotion": core_version()})
    report = json.loads((tmp_path / "corpus" / "report.json").read_text())
    assert (report["files"], report["clips"], report["duration_s"]) == (5, 3, 12.0)


def test_files_are_examined_once_unless_they_or_the_settings_change(
    tmp_path: Path, folder: Path, examine_all: Any, write: Write
) -> None:
    run, out = examine_all(SETTINGS), tmp_path / "corpus"
    first = made_of(folder, out, run)
    assert made_of(folder, out, run).rows == first.rows
    write(folder / "v1.mp4", seed=9)
    made_of(folder, out, run)
    assert run.asked == [5, 0, 1]
    for kept in (out / "examined").glob("*.npz"):  # damaged ones are made again
        kept.write_bytes(kept.read_bytes()[:50])
    made_of(folder, out, run)
    assert run.asked == [5, 0, 1, 5]
    other = Settings(3.5, 3.5, 3.0)
    prepare(folder, out, other, examine_all(other))


def test_an_interruption_keeps_what_was_examined(tmp_path: Path, folder: Path, examine_all: Any) -> None:
    run, out = examine_all(SETTINGS), tmp_path / "corpus"

    def stopped(items: Any) -> Any:
        for position, result in run(items):
            if position == 2:
                raise KeyboardInterrupt
            yield position, result

    with pytest.raises(KeyboardInterrupt):
        made_of(folder, out, stopped)
    assert not (out / "manifest.jsonl").exists()
    made_of(folder, out, run)
    assert run.asked == [5, 3]


def test_copies_are_dropped_and_lend_what_they_know(
    tmp_path: Path, folder: Path, examine_all: Any, write: Write
) -> None:
    (folder / "a_copy.mp4").write_bytes((folder / "v0.mp4").read_bytes())
    write(folder / "z_again.mp4", seed=1, still=True)  # another picture to the sound of v1
    made = made_of(folder, tmp_path / "corpus", examine_all(SETTINGS))
    by_name = {row.id: row for row in made.rows}
    assert set(by_name) == {"a_copy", "v1", "v2", "z_again"}
    assert (by_name["a_copy"].caption, by_name["a_copy"].song) == ("tune 0", "s0")
    assert by_name["v1"].sound == by_name["z_again"].sound != by_name["v2"].sound
    same = [[Path(path).name for path in files] for files in made.report["same_sound"]]
    assert same == [["a_copy.mp4", "v0.mp4"], ["v1.mp4", "z_again.mp4"]]
    assert any("z_again.mp4: the picture stands still" in text for text in made.report["warnings"])


def test_missing_files_are_reported(tmp_path: Path, folder: Path, examine_all: Any) -> None:
    (tmp_path / "l.csv").write_text("path,split\nv0.mp4,test\nv9.mp4,train\n")
    options = {"root": folder, "skip_missing": True}
    made = made_of(tmp_path / "l.csv", tmp_path / "corpus", examine_all(SETTINGS), **options)
    assert [(row.id, row.split) for row in made.rows] == [("v0", "test")]
    assert made.report["missing"] == 1
    assert made.report["dropped"][0]["reason"].startswith("no such file")


def test_nothing_usable_is_an_error_and_nothing_is_written(tmp_path: Path, examine_all: Any, write: Write) -> None:
    write(tmp_path / "v" / "short.mp4", seconds=1.0)
    with pytest.raises(ManifestError, match="at least one usable clip") as error:
        made_of(tmp_path / "v", tmp_path / "corpus", examine_all(SETTINGS))
    assert "shorter than 3 s" in str(error.value)
    assert not (tmp_path / "corpus" / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    "settings", [Settings(4, 4, 5), Settings(4, 0, 3), Settings(4, 4, 0), Settings(9999, 4, 3)]
)
def test_settings_that_make_no_sense(tmp_path: Path, folder: Path, examine_all: Any, settings: Settings) -> None:
    with pytest.raises(ManifestError, match="0 < --min <= --clip <= 600 and --hop > 0"):
        prepare(folder, tmp_path / "corpus", settings, examine_all(settings))


def test_manifests_list_every_bad_line(tmp_path: Path, row: Callable[..., Row]) -> None:
    path = tmp_path / "m.jsonl"
    good = row("a").model_dump_json()
    bad = json.dumps(json.loads(good) | {"id": "b", "duration_s": -1, "sample_rate_hz": 0, "loudness_lufs": "loud"})
    path.write_text(f"{good}\n{bad}\nnot json\n{good}\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(path, files=True)
    told = str(error.value)
    for part in ("2: duration_s", "2: sample_rate_hz", "2: loudness_lufs", "3:", "4: an id", "a.mp4"):
        assert f"{path}:{part}" in told or part in told
    with pytest.raises(ManifestError, match="at least one clip"):
        write_manifest(path, [], {})
        read_manifest(path)
    with pytest.raises(ManifestError, match="expotion data prepare"):
        read_manifest(tmp_path / "none.jsonl")


class Words:
    """A captioner that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, clip: Clip) -> str:
        self.asked += 1
        if clip.id == "c1":
            raise MediaError(Problem(clip.id, "a clip with sound", "none"))
        return f"about {clip.id}"


class Named(Clip):
    """A clip that is only a name."""

    def __init__(self, name: str) -> None:
        self.id, self.duration_s, self.tracks = name, 1.0, {}

    @property
    def content_hash(self) -> str:
        return self.id

    @property
    def video(self) -> None:
        return None

    def audio(self, sample_rate_hz: int) -> None:
        return None


def test_captions_are_asked_for_once(tmp_path: Path, row: Callable[..., Row]) -> None:
    rows = [row(f"c{i}", caption="own") for i in range(3)]
    clips = [Named(r.id) for r in rows]
    words, kept = Words(), tmp_path / "captions.json"
    done, refused = with_captions(rows, clips, lambda: words, kept, "words {}")
    assert [r.caption for r in done] == ["about c0", "own", "about c2"]
    assert len(refused) == 1
    assert "c1 keeps its own caption" in refused[0]
    again, _ = with_captions(rows[::2], clips[::2], pytest.fail, kept, "words {}")  # not even built
    assert [r.caption for r in again] == ["about c0", "about c2"]
    assert words.asked == 3
    with_captions(rows[:1], clips[:1], lambda: words, kept, "words {'style': 'scene'}")
    assert words.asked == 4
    kept.write_text("damaged")
    with_captions(rows[:1], clips[:1], lambda: words, kept, "words {}")
    assert words.asked == 5


def test_captions_survive_a_captioner_that_breaks(tmp_path: Path, row: Callable[..., Row]) -> None:
    rows = [row(f"c{i}") for i in range(2)]

    def broken(clip: Clip) -> str:
        if clip.id == "c1":
            raise RuntimeError("out of memory")
        return "words"

    done, refused = with_captions(
        rows, [Named(r.id) for r in rows], lambda: broken, tmp_path / "captions.json", "b"
    )
    assert [row.caption for row in done] == ["words", None]
    assert refused == ["c1 keeps its own caption: RuntimeError: out of memory"]
    assert list(json.loads((tmp_path / "captions.json").read_text()).values()) == ["words"]


def test_a_process_that_dies_is_one_error_and_the_others_are_kept(
    tmp_path: Path, folder: Path, examine_all: Any
) -> None:
    from expotion.workers import WorkerDiedError

    asked = []

    def dying(items: Any) -> Any:
        asked.append(len(items))
        yield 0, WorkerDiedError("the process died (signal 9)")
        for index, result in examine_all(SETTINGS)(items[1:]):
            yield index + 1, result

    for _ in range(2):
        with pytest.raises(ExpotionError, match=r"\.mp4: .*signal 9.*EXPOTION_WORKERS=1"):
            made_of(folder, tmp_path / "corpus", dying)
    assert asked == [5, 1]
    assert len(read_manifest(tmp_path / "corpus" / "manifest.jsonl")) == 3
    assert "signal 9" in (tmp_path / "corpus" / "report.json").read_text()
