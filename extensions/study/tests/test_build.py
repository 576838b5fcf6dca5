"""What a study's folder holds, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from expotion.cli.main import run
from expotion.errors import ExpotionError
from expotion.video.audio import load_audio
from expotion.video.loudness import loudness_lufs
from expotion_study.model import Study

SYSTEMS, CLIPS = ("alpha_net", "beta_net", "gamma_net"), ("jump", "run", "sway", "walk")


def _picture_hash(path: Path) -> str:
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
    return hashlib.sha256(b"".join(packets)).hexdigest()


def test_every_sound_has_the_same_loudness_and_every_picture_is_the_clips_own(built: Path, sources: Path) -> None:
    study = Study.load(built)
    assert study.systems == SYSTEMS
    assert len(study.stimuli) == 12
    for stimulus in study.stimuli.values():
        samples = load_audio(built / stimulus.file, 48_000)
        assert samples is not None
        loudness = loudness_lufs(samples, 48_000)
        assert loudness == pytest.approx(study.loudness_lufs, abs=0.5)  # AAC on half a second
        clip = study.clips[stimulus.clip].id
        assert _picture_hash(built / stimulus.file) == _picture_hash(sources / "videos" / f"{clip}.mp4")


def test_names_say_nothing(built: Path) -> None:
    study = Study.load(built)
    for path in (built / "media").iterdir():
        assert re.fullmatch(r"[0-9a-f]{24}\.(mp4|wav)", path.name)
        content = path.read_bytes().lower()
        assert not any(name.encode() in content for name in (*SYSTEMS, *CLIPS))
    assert list(study.stimuli) == sorted(study.stimuli)  # in the order of chance, not of systems
    assert len({(each.system, each.clip) for each in study.stimuli.values()}) == 12


def test_levels_are_matched_below_the_peaks_without_a_limiter(build: Callable[..., Study], tmp_path: Path) -> None:
    notes: list[str] = []
    study = build(tmp_path / "pulses", notes, loudness_lufs=-10.0, only=("walk",), pulses=True)
    assert -50.0 < study.loudness_lufs < -10.5
    assert any(f"all at {study.loudness_lufs:.1f} LUFS instead of -10" in note for note in notes)
    for stimulus in study.stimuli.values():
        samples = load_audio(tmp_path / "pulses" / stimulus.file, 48_000)
        assert samples is not None
        assert loudness_lufs(samples, 48_000) == pytest.approx(study.loudness_lufs, abs=0.5)
        assert np.abs(samples).max() < 1.0


def test_without_pictures_and_prompts_their_questions_are_left_out(sources: Path, tmp_path: Path) -> None:
    from expotion.plugins import discover
    from expotion.video.clip import FileClip
    from expotion_study.build import Asked, build_study
    from expotion_study.sources import open_sources

    found = open_sources([str(sources / name) for name in SYSTEMS], discover())
    found.clips = {clip: FileClip(sources / "alpha_net" / f"{clip}.wav", id=clip) for clip in CLIPS}
    notes: list[str] = []
    study = build_study(found, tmp_path / "sound", Asked(), note=notes.append, progress=lambda *_: None)
    assert study.criteria == ("musicality", "creativity")
    assert {each.media_type for each in study.stimuli.values()} == {"audio/flac"}
    assert len(notes) == 2


def _problems(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run(["study", *arguments])
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    return code, said.err + said.out


def test_one_system_is_not_a_comparison(sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    arguments = ["build", str(sources / "alpha_net"), "--videos", str(sources / "videos"), "-o", str(out)]
    code, said = _problems(arguments, capfd)
    assert code == 1 and "at least two systems" in said
    assert not out.exists()


def test_missing_clips_are_named_and_common_leaves_them_out(
    sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short"
    short.mkdir()
    for clip in ("walk", "run"):
        os.link(sources / "beta_net" / f"{clip}.wav", short / f"{clip}.wav")
    arguments = ["build", str(sources / "alpha_net"), f"few={short}", "--videos", str(sources / "videos")]
    code, said = _problems([*arguments, "-o", str(tmp_path / "a")], capfd)
    assert code == 1 and "few: music for all 4 clips, got 2 missing: jump, sway" in said
    code, _ = _problems([*arguments, "--common", "-o", str(tmp_path / "b")], capfd)
    assert code == 0
    assert [clip.id for clip in Study.load(tmp_path / "b").clips] == ["run", "walk"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "short"]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (["--ratings", "0"], "--ratings: a whole number of at least 1"),
        (["--attention", "-1"], "--attention: a whole number of at least 0"),
        (["--loudness", "3"], "--loudness: LUFS from -50 to -10"),
        (["--clips", "walk,crawl"], "--clips: some of jump, run, sway, walk, got crawl"),
        (["--prompts", "nowhere.csv"], "--prompts nowhere.csv: a text file"),
        (["--videos", "nowhere"], "--videos nowhere: a folder"),
    ],
)
def test_wrong_options_are_one_clear_error(
    change: list[str], wanted: str, sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    systems = [str(sources / name) for name in SYSTEMS]
    videos = [] if "--videos" in change else ["--videos", str(sources / "videos")]
    code, said = _problems(["build", *systems, *videos, "-o", str(tmp_path / "s"), *change], capfd)
    assert code == 1 and wanted in said
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_used(sources: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    systems = [str(sources / name) for name in SYSTEMS]
    videos = ["--videos", str(sources / "videos")]
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    code, said = _problems(["build", *systems, *videos, "-o", str(full)], capfd)
    assert code == 1 and "a new or empty folder" in said
    code, said = _problems(["build", *systems, *videos, "-o", str(full / "mine.txt" / "x")], capfd)
    assert code == 1 and "cannot be written to" in said
    code, said = _problems(["build", str(tmp_path / "no"), "again=" + systems[0], "-o", str(tmp_path / "y")], capfd)
    assert code == 1 and "no: a folder, got none" in said
    code, said = _problems(["build", systems[0], systems[0], "-o", str(tmp_path / "z")], capfd)
    assert code == 1 and "alpha_net twice" in said
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]


def test_a_folder_that_is_no_study_or_has_lost_files(study_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExpotionError, match=r"a study with study\.json"):
        Study.load(tmp_path / "none")
    content = json.loads((study_folder / "study.json").read_text())
    next((study_folder / "media").glob("*.mp4")).unlink()
    with pytest.raises(ExpotionError, match="1 missing, the first media/"):
        Study.load(study_folder)
    (study_folder / "study.json").write_text(json.dumps({**content, "format": "other/9"}))
    with pytest.raises(ExpotionError, match="other/9"):
        Study.load(study_folder)
