"""From files of conductors and of other people to a working adaptor, by the commands of docs/data.md. Slow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expotion.cli.main import run

RECIPE = """\
name: own_clips
seed: 1
plugins: [expotion-motion-synchformer, expotion-text-t5, expotion-conductor]
data: {source: manifest, path: corpus/split.jsonl}
backbone: {source: tiny}
text: {encoder: text_t5, prompt: caption}
conditions:
  - {name: motion, encoder: motion_synchformer, rank: 4}
train: {steps: 3, batch_size: 2, warmup_steps: 0}
generate: {cfg_scale: 1.0, control_scale: 1.0, samples: 1}
evaluate: {metrics: [intensity_correlation], bootstrap: 20, conditions: [text_only, motion]}
"""


@pytest.mark.slow
def test_from_a_folder_of_videos_to_an_adaptor_that_makes_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPOTION_WORKERS", "1")
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    sets = ["train_clips=4", "test_clips=1", "clip_s=3", "size=64", "train_seed=5000200", "test_seed=5000300"]
    options = [part for one in sets for part in ("--set", one)]
    assert run(["data", "export", "conductor", "--out", "videos", *options]) == 0
    write(tmp_path / "videos" / "phone.mkv", seed=1, seconds=2.4)  # another length, size and sample rate
    prepare = ["--clip", "3", "--min", "2", "--prompt", "music", "--codes", "tiny"]
    assert run(["data", "prepare", "videos", "--out", "corpus", *prepare]) == 0
    rows = [json.loads(line) for line in Path("corpus/manifest.jsonl").read_text().splitlines()]
    assert {row["n_codes"] for row in rows} == {150, 120}  # 50 frames per second: none is padded
    assert run(["data", "split", "corpus/manifest.jsonl", "--test", "0.2", "--validation", "0"]) == 0
    assert run(["data", "audit", "corpus/split.jsonl"]) == 0
    Path("own.yaml").write_text(RECIPE)
    assert run(["recipe", "run", "own.yaml", "--out", "run"]) == 0
    state = json.loads(Path("run/run.json").read_text())
    assert state["stages"]["training"]["clips"] == 5
    steps = [json.loads(line) for line in Path("run/training.jsonl").read_text().splitlines()]
    assert len(steps) == 3
    assert np.isfinite([step["loss"] for step in steps]).all()
    assert steps[-1]["gates"] != steps[0]["gates"]
    assert len(list(Path("run/samples/motion").glob("*.wav"))) == 1
    video = str(next(Path("videos/test").glob("*.mp4")))
    assert run(["generate", video, "--adaptor", "run/adaptor", "--out", "made.mp4", "--prompt", "calm"]) == 0
    assert Path("made.mp4").stat().st_size > 5000
