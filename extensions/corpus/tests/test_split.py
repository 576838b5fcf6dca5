"""Splits: no group crosses, whatever the metadata; impossible ones are refused with numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expotion.manifest.rows import ManifestError, Row, read_header, read_manifest, write_manifest
from expotion_corpus.split import assign, components, crossings, split_manifest

KEYS = ("recording", "song", "performer")
MakeRow = Callable[..., Row]


def test_a_chain_over_songs_and_performers_is_one_group(row: MakeRow) -> None:
    rows = [row(f"c{i}", song=f"s{i // 2}", performer=f"p{(i + 1) // 2 % 8}") for i in range(8)]
    rows += [row(f"d{i}", song=f"t{i // 3}") for i in range(30)]
    done, groups = assign(rows, ("song", "performer"), 0.1, 0.1, 3)
    assert {r.split for r in done} == {"train", "validation", "test"}
    assert crossings(done, ("song", "performer")) == []
    assert len(groups[0]) == 8
    moved = [r.model_copy(update={"split": "test" if r.id == "c0" else "train"}) for r in done]
    assert {c["value"] for c in crossings(moved, ("song",))} == {"s0"}


names = st.one_of(st.none(), st.sampled_from(["a", "B", " b", "c", "d", "e", "f"]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(names, names, names, names, st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 5)
)
def test_nothing_ever_crosses(clips: list[tuple[str | None, ...]], seed: int) -> None:
    rows = [
        Row(
            id=f"c{i}",
            path=f"{file}.mp4",
            start_s=0,
            duration_s=1 + i % 7,
            file_sha256=f"{file:064x}",
            recording=recording,
            song=song,
            performer=performer,
            sound=sound,
        )
        for i, (recording, song, performer, sound, file) in enumerate(clips)
    ]
    try:
        done, groups = assign(rows, KEYS, 0.2, 0.2, seed)
    except ManifestError as error:
        assert "that share nothing" in str(error)
        return
    assert crossings(done, KEYS) == []
    assert sorted(i for group in groups for i in group) == list(range(len(rows)))
    for value in KEYS:  # looked at in another way than the code does
        for one in done:
            for other in done:
                a, b = getattr(one, value), getattr(other, value)
                if a and b and a.strip().casefold() == b.strip().casefold():
                    assert one.split == other.split
    assert {one.split for one in done} == {"train", "validation", "test"}


def test_spelling_and_unknown_fields(row: MakeRow) -> None:
    rows = [row("a", performer="Ann "), row("b", performer="ann"), row("c"), row("d")]
    assert [sorted(group) for group in components(rows, KEYS)] == [[0, 1], [2], [3]]


def test_parts_are_about_as_long_as_asked_and_the_seed_decides(row: MakeRow) -> None:
    rows = [row(f"c{i}", song=f"s{i // 4}") for i in range(400)]
    parts = {}
    for seed in (0, 0, 1):
        done, _ = assign(rows, ("song",), 0.15, 0.1, seed)
        parts.setdefault(seed, []).append([r.split for r in done])
        assert 0.13 < sum(r.split == "test" for r in done) / 400 < 0.17
        assert 0.08 < sum(r.split == "validation" for r in done) / 400 < 0.12
    assert parts[0][0] == parts[0][1]
    assert parts[0][0] != parts[1][0]


def test_what_cannot_be_split_is_refused_with_numbers(row: MakeRow) -> None:
    with pytest.raises(ManifestError, match="1 for 5 clips; the largest holds 5 clips"):
        assign([row(f"c{i}", performer="p") for i in range(5)], ("performer",), 0.2, 0.0, 0)
    with pytest.raises(ManifestError, match="1 for 1 clips"):
        assign([row("only")], ("song",), 0.2, 0.0, 0)
    with pytest.raises(ManifestError, match="2 for 2 clips"):
        assign([row("a"), row("b")], ("song",), 0.2, 0.2, 0)
    for test, validation in ((1.0, 0.0), (0.6, 0.4), (0.0, 0.0), (-0.1, 0.2)):
        with pytest.raises(ManifestError, match="something left to train on"):
            assign([row("a"), row("b")], ("song",), test, validation, 0)


def test_the_report_is_computed_from_the_written_file(tmp_path: Path, row: MakeRow) -> None:
    rows = [row(f"c{i}", song=f"s{i}", performer=None if i < 3 else f"p{i}") for i in range(10)]
    write_manifest(tmp_path / "manifest.jsonl", rows, {"settings": {"clip_s": 10.0}})
    (tmp_path / "other").mkdir()
    out = tmp_path / "other" / "split.jsonl"
    report = split_manifest(tmp_path / "manifest.jsonl", out, KEYS, 0.2, 0.1, 7)
    assert report["crossings"] == []
    assert report["unknown"] == {"recording": 10, "song": 0, "performer": 3}
    assert sum(part["clips"] for part in report["splits"].values()) == 10
    assert sum(len(group["clips"]) for group in report["groups"]) == 10
    written = read_manifest(out)
    assert written[0].path == str(tmp_path / "c0.mp4")  # another folder: paths become absolute
    header = read_header(out)
    assert header["split"]["seed"] == 7
    assert header["settings"] == {"clip_s": 10.0}
    assert (tmp_path / "other" / "split.split.json").is_file()
