"""A listening test of runs: which folder becomes which system, with which clips and words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from expotion.cli.main import run
from expotion.errors import ExpotionError
from expotion.plugins import Registry
from expotion.video.audio import load_audio
from expotion_study.model import Study
from expotion_study.sources import ORIGINAL, open_sources, read_prompts
from expotion_study.stimuli import RATE_HZ

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")


def test_conditions_of_a_run_and_the_clips_own_sound(finished: Path, lamps: Registry) -> None:
    arguments = [str(finished), f"{finished}:text_only", f"real={finished}:{ORIGINAL}"]
    found = open_sources(arguments, lamps)
    assert [system.name for system in found.systems] == ["finished", "finished text_only", "real"]
    clips = tuple(sorted(found.clips))
    assert all(tuple(sorted(system.clip_ids)) == clips for system in found.systems) and len(clips) == 2
    assert all(found.prompts[clip] == found.clips[clip].caption for clip in clips)
    heard = [system.load(clips[0]) for system in found.systems]
    made = load_audio(finished / "samples" / "glow+sway" / f"{clips[0]}.wav", RATE_HZ)
    assert made is not None
    np.testing.assert_array_equal(heard[0], made)
    np.testing.assert_array_equal(heard[2], found.clips[clips[0]].audio(RATE_HZ))
    assert not np.array_equal(heard[0], heard[1])


def test_the_cells_of_a_matrix_are_systems(finished: Path, lamps: Registry, tmp_path: Path) -> None:
    for name in ("raft", "synchformer"):
        shutil.copytree(finished, tmp_path / "table" / "cells" / name)
    (tmp_path / "table" / "cells" / "unfinished").mkdir()
    found = open_sources([str(tmp_path / "table"), f"base={tmp_path / 'table'}:text_only"], lamps)
    names = [system.name for system in found.systems]
    assert names == ["raft", "synchformer", "base/raft", "base/synchformer"]


def test_a_study_of_a_run_and_of_music_from_elsewhere(finished: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "human"
    elsewhere.mkdir()
    for path in (finished / "samples" / "sway").glob("*.wav"):
        shutil.copy(path, elsewhere / path.name)
    out = tmp_path / "study"
    assert run(["study", "build", str(finished), str(elsewhere), "--out", str(out), "--ratings", "4"]) == 0
    study = Study.load(out)
    assert study.systems == ("finished", "human") and study.has_video and len(study.criteria) == 4
    assert study.ratings == 4 and {clip.duration_s for clip in study.clips} == {1.0}
    assert all("lamp music" in (clip.prompt or "") for clip in study.clips)


def test_what_is_no_system_is_said_by_name(finished: Path, lamps: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = [f"{finished}:nothing", str(tmp_path / "empty"), f"{tmp_path / 'empty'}:face"]
    with pytest.raises(ExpotionError) as caught:
        open_sources(arguments, lamps)
    said = [str(problem) for problem in caught.value.problems]
    assert len(said) == 3
    assert "text_only, original, got no samples of it" in said[0]
    assert "a run folder or sound files, got neither" in said[1]
    assert "a run folder before a condition" in said[2]


def test_prompts_from_files(tmp_path: Path) -> None:
    table = tmp_path / "p.csv"
    table.write_text('clip,prompt\na,"calm, warm"\nb,fast\n')
    assert read_prompts(table) == {"a": "calm, warm", "b": "fast"}
    (tmp_path / "p.json").write_text(json.dumps({"a": "calm"}))
    assert read_prompts(tmp_path / "p.json") == {"a": "calm"}
    table.write_text("a;calm\n")
    with pytest.raises(ExpotionError, match="two columns, got 1 columns in row 1"):
        read_prompts(table)
    (tmp_path / "p.json").write_text("[1]")
    with pytest.raises(ExpotionError, match="an object of texts by clip"):
        read_prompts(tmp_path / "p.json")
