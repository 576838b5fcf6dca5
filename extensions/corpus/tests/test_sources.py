"""Every form in which videos can be listed, and what is said of lists that are wrong."""

import csv
import json
import tarfile
from pathlib import Path

import pytest

from expotion.manifest.rows import ManifestError
from expotion_corpus.sources import Found, read_source
from expotion_corpus.tables import authors_line


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return path


def read(source: Path, tmp_path: Path, **options: object) -> Found:
    return read_source(source, tmp_path / "unpacked", **options)  # type: ignore[arg-type]


def test_a_folder_with_sidecars_subfolders_and_what_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    touch(folder / "a.mp4")
    (folder / "a.txt").write_text("a calm\npiano  piece\n", encoding="utf-8")
    touch(folder / "deep" / "b.MKV")
    about = {"artist": "Ann", "title": "Tune", "start_s": 1.5, "duration_s": 4, "split": "val"}
    (folder / "deep" / "b.json").write_text(json.dumps(about))
    touch(folder / ".hidden.mp4")
    touch(folder / ".cache" / "c.mp4")
    touch(folder / "notes.pdf")
    a, b = read(folder, tmp_path).items
    assert (a.caption, a.song, a.start_s, a.split) == ("a calm piano piece", None, 0.0, None)
    assert (b.performer, b.song, b.start_s, b.duration_s, b.split) == ("Ann", "Tune", 1.5, 4.0, "validation")


def test_a_single_video_is_a_source(tmp_path: Path) -> None:
    [item] = read(touch(tmp_path / "one.mov"), tmp_path).items
    assert item.path == tmp_path / "one.mov"


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    touch(tmp_path / "v" / "a.mp4")
    rows = [
        {"file_name": "v/a.mp4", "text": "calm, slow", "song": "s", "start_s": "0", "duration_s": "2.5"},
        {"file_name": "v/a.mp4", "text": "", "song": "s", "start_s": "2.5", "duration_s": ""},
    ]
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    for name, first_line in (("list.csv", 2), ("list.jsonl", 1)):
        one, two = read(tmp_path / name, tmp_path).items
        assert (one.caption, one.duration_s, two.caption) == ("calm, slow", 2.5, None)
        assert (two.start_s, two.duration_s) == (2.5, None)
        assert one.where == f"{tmp_path / name}:{first_line}"


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    touch(tmp_path / "a.mp4")
    table = pyarrow.table({"file_name": ["a.mp4"], "text": [None], "performer": ["Ann"]})
    parquet.write_table(table, tmp_path / "metadata.parquet")
    [item] = read(tmp_path, tmp_path / "elsewhere").items
    assert (item.performer, item.caption) == ("Ann", None)
    (tmp_path / "metadata.parquet").write_bytes(b"no table")
    with pytest.raises(ManifestError, match="a Parquet table"):
        read(tmp_path, tmp_path / "elsewhere")


def test_a_video_folder_of_hugging_face_with_splits(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("train/a.mp4", "train/sub/b.mp4", "test/c.mp4", "test/forgotten.mp4"):
        touch(data / name)
    (data / "train" / "metadata.csv").write_text("file_name,text\na.mp4,first\nsub/b.mp4,second\n")
    (data / "test" / "metadata.jsonl").write_text('{"file_name": "c.mp4", "text": "third"}\n')
    found = read(data, tmp_path)
    told = {item.path.name: (item.caption, item.split) for item in found.items}
    assert told == {"a.mp4": ("first", "train"), "b.mp4": ("second", "train"), "c.mp4": ("third", "test")}
    assert len(found.warnings) == 1
    assert "forgotten.mp4" in found.warnings[0]


def test_tars_of_a_web_dataset(tmp_path: Path) -> None:
    made = tmp_path / "made"
    touch(made / "0001.mp4")
    (made / "0001.txt").write_text("a waltz")
    (made / "0001.json").write_text('{"performer": "Ann"}')
    touch(made / "0002.front.webm").write_bytes(b"front")
    (made / "0002.txt").write_text("a march")
    for tar, mode in (("train/shard-0.tar", "w"), ("test/shard-0.tar.gz", "w:gz")):
        (tmp_path / "shards" / tar).parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(tmp_path / "shards" / tar, mode) as archive:
            for path in sorted(made.iterdir()):
                archive.add(path, arcname=f"./{path.name}")
    items = read(tmp_path / "shards", tmp_path).items
    assert [(item.caption, item.performer, item.split) for item in items] == [
        ("a waltz", "Ann", "test"),
        ("a march", None, "test"),
        ("a waltz", "Ann", "train"),
        ("a march", None, "train"),
    ]
    assert len({item.path for item in items}) == 4  # shards of one name in two folders stay apart
    assert all(item.path.is_relative_to(tmp_path / "unpacked") for item in items)
    [one, two] = read(tmp_path / "shards" / "train" / "shard-0.tar", tmp_path).items
    assert (one.caption, two.path.read_bytes()) == ("a waltz", b"front")


def test_members_of_a_tar_stay_inside_and_a_cut_tar_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4").write_bytes(bytes(3000))
    tar = tmp_path / "evil.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "a.mp4", arcname="../../outside.mp4")
    [item] = read(tar, tmp_path).items
    assert item.path.resolve().is_relative_to(tmp_path / "unpacked")
    assert not (tmp_path.parent / "outside.mp4").exists()
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(ManifestError, match="a tar of samples"):
        read(tar, tmp_path)


def test_the_authors_lists(tmp_path: Path) -> None:
    line = (
        "raft_5fps/person_clip2.pt | data/rvq/Moon Song_clip3.wav.npy | "
        "{'audio_id': 'x', 'caption': '<s> soft | slow\\n piano</s>'}"
    )
    touch(tmp_path / "clips" / "person_clip2.mp4")
    (tmp_path / "train.txt").write_text(line + "\n")
    [item] = read(tmp_path / "train.txt", tmp_path).items
    assert item.caption == "soft | slow piano"  # line ends go without a space in their place
    assert (item.song, item.recording) == ("Moon Song", "person_clip2".removesuffix("_clip2"))
    assert item.sound == "Moon Song_clip3.wav.npy"
    four = authors_line("raft/a.pt|face/a.pt|rvq/b_clip0.wav.npy|{'audio_id': '1', 'caption': 'c'}")
    assert four["song"] == "b"  # features first, codes second to last
    assert authors_line("videos/cartoon.mp4") == {"path": "videos/cartoon.mp4"}
    for bad in ("a.pt|b.npy", "a.pt|b.npy|no dict", "a.pt|b.npy|{'caption': open('x')}", "|b|{}"):
        with pytest.raises((ValueError, SyntaxError)):
            authors_line(bad)


def test_paths_may_start_elsewhere(tmp_path: Path) -> None:
    touch(tmp_path / "media" / "a.mp4")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "l.csv").write_text("path\na.mp4\n")
    with pytest.raises(ManifestError, match="--root FOLDER"):
        read(tmp_path / "lists" / "l.csv", tmp_path)
    [item] = read(tmp_path / "lists" / "l.csv", tmp_path, root=tmp_path / "media").items
    assert item.path == tmp_path / "media" / "a.mp4"


def test_missing_files_are_counted_and_may_be_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "here.mp4")
    lines = ["path", "here.mp4", *(f"gone{i}.mp4" for i in range(50))]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    with pytest.raises(ManifestError, match="50 of 51 are missing") as error:
        read(tmp_path / "l.csv", tmp_path)
    assert len(error.value.problems) == 21  # twenty by name, and the count
    found = read(tmp_path / "l.csv", tmp_path, skip_missing=True)
    assert (len(found.items), len(found.missing)) == (1, 50)
    (tmp_path / "here.mp4").unlink()
    with pytest.raises(ManifestError, match="51 of 51"):
        read(tmp_path / "l.csv", tmp_path, skip_missing=True)


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    good = {"path": "a.mp4"}
    bad = [
        {"caption": "no path"},
        good | {"start_s": -1},
        good | {"duration_s": "long"},
        good | {"start_s": "nan"},
        good | {"split": "holdout"},
    ]
    text = "\n".join(json.dumps(line) for line in [good, *bad]) + "\n[1]\nnot json\n"
    (tmp_path / "l.jsonl").write_text(text)
    with pytest.raises(ManifestError) as error:
        read(tmp_path / "l.jsonl", tmp_path)
    told = str(error.value)
    assert [f"l.jsonl:{n}" in told for n in range(1, 9)] == [False] + [True] * 7
    assert "duration_s: seconds of at least 0.001, got long" in told


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.csv", None, "a source of videos, got nothing there"),
        ("empty.csv", b"path\n", "at least one video"),
        ("latin.csv", "path,caption\na.mp4,caf\xe9\n".encode("latin-1"), "save it as UTF-8"),
        ("latin.txt", b"\xff\xfe\x00", "save it as UTF-8"),
    ],
)
def test_sources_that_are_none(tmp_path: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=told):
        read(tmp_path / name, tmp_path)


def test_a_folder_without_videos_and_a_bad_sidecar(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"at least one video"):
        read(tmp_path / "empty", tmp_path)
    touch(tmp_path / "v" / "a.mp4")
    (tmp_path / "v" / "a.json").write_text("[]")
    with pytest.raises(ManifestError, match=r"a\.json: a JSON object"):
        read(tmp_path / "v", tmp_path)
