"""Options of training through a whole run: sound on the way, a cache that vanishes, a trunk cache."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expotion.video.audio import load_audio

Run = Callable[..., int]


def test_samples_are_written_while_training_goes_on(run_lamps: Run, tmp_path: Path, finished: Path) -> None:
    assert run_lamps(tmp_path / "run", "train.sample_every_steps=2") == 0
    written = sorted((tmp_path / "run" / "training_samples").iterdir())
    assert [path.name for path in written] == ["step_000002.wav", "step_000004.wav"]
    sounds = [load_audio(path, 32_000) for path in written]
    assert all(sound is not None and len(sound) == 32_000 for sound in sounds)
    same = [
        (folder / "adaptor" / "adaptor.safetensors").read_bytes() for folder in (tmp_path / "run", finished)
    ]
    assert same[0] == same[1]  # listening changes nothing


def test_a_cache_that_vanishes_between_stages_is_made_again(
    run_lamps: Run,
    tmp_path: Path,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Callable[[Path], dict[str, bytes]],
) -> None:
    """The run is stopped in training, its cache is removed, and it goes on to the same result."""
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    from expotion.train.loop import TrainingRun

    step = TrainingRun.step

    def stop(run: TrainingRun) -> dict[str, object]:
        if run.step_number == 3:
            raise KeyboardInterrupt
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "step", stop)
        assert run_lamps(tmp_path / "run") == 130
    shutil.rmtree(tmp_path / "cache")
    assert run_lamps(tmp_path / "run") == 0
    assert results(tmp_path / "run") == results(finished)


def test_few_layers_with_a_cached_trunk(run_lamps: Run, tmp_path: Path) -> None:
    common = ("adaptor.layers=1", "train.context_swap=false", "train.steps=6")
    assert run_lamps(tmp_path / "plain", *common) == 0
    assert run_lamps(tmp_path / "cached", *common, "train.trunk_cache_gib=0.1") == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "training.jsonl").read_text().splitlines()]
        for name in ("plain", "cached")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    assert not (tmp_path / "cached" / "trunk").exists()  # nothing is left behind


def test_a_trunk_cache_with_swapped_histories_is_refused(
    run_lamps: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_lamps(tmp_path / "run", "train.trunk_cache_gib=1") == 2
    assert "context_swap: false" in capsys.readouterr().err


def test_the_curve_is_shown_at_the_end(
    run_lamps: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_lamps(tmp_path / "run") == 0
    shown = capsys.readouterr().out
    assert "· training" in shown
    assert "step  0" in shown
