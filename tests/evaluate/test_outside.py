"""Folders of sounds from other systems: which file belongs to which clip, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion.evaluate.outside import OutsideRow, match_files
from expotion.video.sound_files import write_wav


def clips(*ids: str) -> Any:
    return [SimpleNamespace(id=one, duration_s=1.0) for one in ids]


def sound(path: Path, seconds: float = 1.0, rate_hz: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, np.full(round(seconds * rate_hz), 0.25, np.float32), rate_hz)


def test_files_named_like_clips_become_a_row_at_the_asked_rate(tmp_path: Path) -> None:
    sound(tmp_path / "clip-1.wav")
    sound(tmp_path / "clip-2.wav", seconds=1.5, rate_hz=44_100)
    row = OutsideRow("other", tmp_path, clips("clip-1", "clip-2"))
    scored = row.scored(32_000, lambda clip: f"prompt of {clip.id}")
    assert [len(one.samples) for one in scored] == [32_000, 32_000]
    assert [one.prompt for one in scored] == ["prompt of clip-1", "prompt of clip-2"]
    assert float(np.median(scored[0].samples)) == pytest.approx(0.25, abs=0.01)
    assert row.notes == []


def test_what_is_missing_left_over_too_short_or_broken_is_named(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", seconds=0.5)
    sound(tmp_path / "holiday.wav")
    (tmp_path / "c.wav").write_bytes(b"no sound at all")
    (tmp_path / "notes.txt").write_text("not a sound file")
    row = OutsideRow("other", tmp_path, clips("a", "b", "c", "d"))
    scored = row.scored(16_000, lambda clip: None)
    assert [one.clip.id for one in scored] == ["a"]
    notes = "\n".join(row.notes)
    assert "no sound for d" in notes
    assert "holiday.wav" in notes and "notes.txt" not in notes
    assert "too short: b.wav (0.5 of 1.0 s)" in notes
    assert "not readable: c.wav" in notes


def test_numbers_match_where_no_name_does_and_only_one_clip_fits() -> None:
    files = [Path("out_4000001.mp3"), Path("out_4000002.mp3"), Path("take7.wav")]
    found, left = match_files(files, ["conductor-4000001", "conductor-4000002"])
    assert found == {"conductor-4000001": files[0], "conductor-4000002": files[1]}
    assert left == [files[2]]
    assert match_files([Path("x_1.wav")], ["a-1", "b-1"])[0] == {}
    named, rest = match_files([Path("a-1.wav"), Path("x_2.wav")], ["a-1", "a-2"])
    assert named == {"a-1": Path("a-1.wav")} and rest == [Path("x_2.wav")]


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "strangers"])
def test_a_folder_without_any_of_the_clips_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    if kind == "file":
        folder.write_text("")
    elif kind != "missing":
        folder.mkdir()
    if kind == "strangers":
        sound(folder / "holiday.wav")
    with pytest.raises(ExpotionError) as caught:
        OutsideRow("vidmuse", folder, clips("a"))
    said = str(caught.value)
    assert "outside row 'vidmuse'" in said
    assert {"missing": "no such folder", "file": "a file", "empty": "no sound file", "strangers": "1 sound files"}[
        kind
    ] in said


def test_the_hash_follows_the_files(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    first = OutsideRow("x", tmp_path, clips("a")).content_hash
    assert OutsideRow("x", tmp_path, clips("a")).content_hash == first
    sound(tmp_path / "a.wav", seconds=1.1)
    assert OutsideRow("x", tmp_path, clips("a")).content_hash != first
