"""Leaks of anybody's split: manifests, folders, CSV, and the authors' lists, by metadata and by sound."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expotion.manifest.rows import ManifestError, Row, write_manifest
from expotion_corpus.audit import audit, read_parts

Write = Callable[..., Path]


def kinds(report: dict) -> set[str]:
    return {leak["by"] for leak in report["leaks"]}


def line_of(report: dict, by: str, part: str) -> dict:
    [line] = [line for line in report["summary"] if (line["by"], line["part"]) == (by, part)]
    return line


def test_a_manifest_by_each_field(tmp_path: Path, row: Callable[..., Row]) -> None:
    path = tmp_path / "split.jsonl"
    rows = [
        row("a", split="train", song="Moon", performer="Ann"),
        row("b", split="train", recording="r"),
        row("c", split="test", song="moon ", performer="Bob"),
        row("d", split="test", recording="q"),
    ]
    write_manifest(path, rows, {})
    report = audit([path], fingerprints=False)
    assert [(leak["by"], leak["value"]) for leak in report["leaks"]] == [("song", "moon")]
    assert report["leaks"][0]["clips"] == {"train": ["a"], "test": ["c"]}
    assert line_of(report, "song", "test") == {
        "by": "song",
        "part": "test",
        "values": 1,
        "shared": 1,
        "leaking_clips": 1,
        "clips": 2,
    }
    assert report["unknown"] == {"recording": 2, "song": 2, "performer": 2}
    assert audit([path], fields=("performer", "recording"), fingerprints=False)["leaks"] == []
    write_manifest(path, [*rows, row("e", split="test", path="a.mp4", start_s=3)], {})
    assert kinds(audit([path], fingerprints=False)) == {"song", "path"}


def test_the_leaks_of_the_authors_lists_are_found(tmp_path: Path) -> None:
    def line(recording: str, clip: int, song: str, piece: int) -> str:
        about = {"audio_id": f"{clip}", "caption": "music"}
        return f"raft_5fps/{recording}_clip{clip}.pt|rvq/{song}_clip{piece}.wav.npy|{about}"

    train = [line("ann-moon", 0, "moon", 0), line("ann-moon", 1, "moon", 1), line("bob-sun", 0, "sun", 0)]
    test = [line("ann-moon", 2, "moon", 2), line("cid-sun", 0, "sun", 0)]
    (tmp_path / "train.txt").write_text("\n".join(train))
    (tmp_path / "test.txt").write_text("\n".join(test) + "\n")
    report = audit([tmp_path / "train.txt", tmp_path / "test.txt"])
    found = {(leak["by"], leak["value"]) for leak in report["leaks"]}
    assert found == {("recording", "ann-moon"), ("song", "moon"), ("song", "sun"), ("sound", "sun_clip0.wav.npy")}
    assert line_of(report, "recording", "test.txt")["shared"] == 1
    assert line_of(report, "recording", "test.txt")["values"] == 2
    assert line_of(report, "song", "test.txt")["leaking_clips"] == 2
    assert len(report["unread"]) == 5  # the videos are not here: said, not hidden
    assert report["heard"] == 0


def test_folders_and_tables_by_sound(tmp_path: Path, write: Write, notes: Callable[..., np.ndarray]) -> None:
    data = tmp_path / "data"
    for i in range(2):
        write(data / "train" / f"t{i}.mp4", seed=i)
    write(data / "test" / "fresh.mp4", seed=7)
    assert audit([data])["leaks"] == []
    write(data / "test" / "again.mp4", sound=0.3 * notes(1, 4.0), still=True)  # other bytes, other picture
    report = audit([data])
    assert kinds(report) == {"fingerprint"}
    told = {part: [Path(name).name for name in names] for part, names in report["leaks"][0]["clips"].items()}
    assert told == {"test": ["again.mp4"], "train": ["t1.mp4"]}
    assert report["heard"] == 4
    (tmp_path / "train.csv").write_text("file_name\ndata/train/t0.mp4\ndata/train/t1.mp4\n")
    (tmp_path / "test.csv").write_text("file_name\ndata/test/again.mp4\ndata/train/t0.mp4\n")
    both = audit([tmp_path / "train.csv", tmp_path / "test.csv"])
    assert kinds(both) == {"path", "fingerprint"}
    assert line_of(both, "fingerprint", "test.csv")["leaking_clips"] == 2
    lines = [{"path": "data/train/t0.mp4", "split": "train"}, {"path": "data/test/again.mp4", "split": "dev"}]
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps(one) for one in lines))
    assert audit([tmp_path / "all.jsonl"])["parts"] == {"train": 1, "validation": 1}


def test_only_the_stretches_of_the_clips_count(
    tmp_path: Path, write: Write, notes: Callable[..., np.ndarray]
) -> None:
    """One file in both parts is a leak by path; its halves share no sound."""
    write(tmp_path / "long.mp4", seed=3, seconds=8.0)
    text = "path,start_s,duration_s,split\nlong.mp4,0,4,train\nlong.mp4,4,4,test\n"
    (tmp_path / "l.csv").write_text(text)
    assert kinds(audit([tmp_path / "l.csv"])) == {"path"}


def test_what_is_no_split(tmp_path: Path, row: Callable[..., Row]) -> None:
    write_manifest(tmp_path / "m.jsonl", [row("a"), row("b")], {})
    with pytest.raises(ManifestError, match="clips in two splits or more, got none"):
        read_parts([tmp_path / "m.jsonl"])
    with pytest.raises(ManifestError, match="nothing there"):
        read_parts([tmp_path / "m.jsonl", tmp_path / "gone.txt"])
    (tmp_path / "bad.txt").write_text("a|b\n")
    with pytest.raises(ManifestError, match=r"bad\.txt:1: a JSON object, or FEATURES"):
        read_parts([tmp_path / "m.jsonl", tmp_path / "bad.txt"])
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ManifestError, match="at least one clip"):
        read_parts([tmp_path / "m.jsonl", tmp_path / "empty.txt"])
    with pytest.raises(ManifestError, match="each list once"):
        read_parts([tmp_path / "m.jsonl", tmp_path / "m.jsonl"])
