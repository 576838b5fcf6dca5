"""Early stopping, half precision, a disk without room."""

from __future__ import annotations

import logging
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expotion.errors import OutputError, Problem
from expotion.recipe.schema import EarlyStopping, LearningRate, Train
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.loop import Loop, LossScale, SteeredMusic

NAMES = runpy.run_path(str(Path(__file__).with_name("worker.py")))
SETTINGS: Train = NAMES["SETTINGS"]


def finished(run: Loop) -> dict[str, torch.Tensor]:
    for _ in run.run():
        pass
    return {name: tensor.clone() for name, tensor in run.finish().state_dict().items()}


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    """A rate far too high: the loss on held-out clips is at its best early on."""
    rule = EarlyStopping(patience_steps=4)
    settings = NAMES["changed"](
        SETTINGS,
        steps=60,
        validate_every_steps=1,
        learning_rate=LearningRate(project=0.3, gates=0.6, other=0.1),
        early_stopping=rule,
        checkpoint_every_steps=1,
    )
    run = NAMES["make_run"](settings, tmp_path)
    weights = finished(run)
    losses = [record["validation_loss"] for record in run.records]
    assert run.stopped_early
    assert len(losses) < 60
    assert run.best_step == int(np.argmin(losses)) + 1
    assert len(losses) == run.best_step + 4

    until_best = NAMES["make_run"](NAMES["changed"](settings, early_stopping=None))
    steps = until_best.run()
    for _ in range(run.best_step):
        next(steps)
    assert all(torch.equal(weights[n], t) for n, t in until_best.trained.state_dict().items())

    again = NAMES["make_run"](settings, tmp_path)
    assert again.resume()
    assert again.stopped_early
    resumed = finished(again)
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_small_improvements_do_not_count() -> None:
    settings = NAMES["changed"](
        SETTINGS,
        steps=30,
        validate_every_steps=1,
        early_stopping=EarlyStopping(patience_steps=3, min_improvement=100.0),
    )
    run = NAMES["make_run"](settings)
    finished(run)
    assert run.best_step == 1
    assert len(run.records) == 4


def test_the_loss_scale_halves_and_doubles() -> None:
    scale = LossScale(value=4.0, patience=2)
    scale.update(finite=False)
    assert scale.value == 2.0
    scale.update(finite=True)
    scale.update(finite=True)
    assert (scale.value, scale.good_steps) == (4.0, 0)
    for _ in range(5):
        scale.update(finite=False)
    assert scale.value == 1.0


def test_half_precision_leaves_out_steps_that_overflow_and_resumes_exactly(tmp_path: Path) -> None:
    settings = NAMES["changed"](SETTINGS, steps=6, checkpoint_every_steps=2)

    def half(folder: Path | None = None) -> Loop:
        run: Loop = NAMES["make_run"](settings, folder)
        fresh = Loop(
            SteeredMusic(
                run.objective.lm.half(), run.trained, run.objective.examples, settings, 3, run.objective.validation
            ),
            settings,
            keeper=run.keeper,
        )
        assert fresh.loss_scale is not None
        fresh.loss_scale.value = 2.0**40  # overflows at once
        return fresh

    run = half()
    whole = finished(run)
    left_out = [record["left_out"] for record in run.records]
    assert left_out[0] and run.records[1]["loss_scale"] == 2.0**39

    broken = half(tmp_path)
    steps = broken.run()
    for _ in range(3):
        next(steps)
    steps.close()
    resumed = half(tmp_path)
    assert resumed.resume()
    assert resumed.loss_scale is not None and resumed.loss_scale.value == 2.0**38
    continued = finished(resumed)
    assert all(torch.equal(whole[name], continued[name]) for name in whole)


def test_half_precision_learns_like_full_precision() -> None:
    settings = NAMES["changed"](SETTINGS, steps=10)
    full = NAMES["make_run"](settings)
    finished(full)
    other = NAMES["make_run"](settings)
    half = Loop(
        SteeredMusic(other.objective.lm.half(), other.trained, other.objective.examples, settings, 3), settings
    )
    finished(half)
    losses = [[record["loss"] for record in run.records] for run in (full, half)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


# --------------------------------------------------------------------------------------------- a full disk


def test_a_full_disk_does_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = NAMES["changed"](SETTINGS, steps=6, checkpoint_every_steps=2)
    run = NAMES["make_run"](settings, tmp_path)
    keep = CheckpointFolder.save

    def full(self: CheckpointFolder, step: int, *rest: Any) -> None:
        if step == 4:
            raise OutputError(Problem("checkpoint", "could not be written", "No space left on device"))
        keep(self, step, *rest)

    monkeypatch.setattr(CheckpointFolder, "save", full)
    with caplog.at_level(logging.WARNING, logger="expotion"):
        finished(run)
    assert "training goes on without a checkpoint of step 4" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000002", "step_000006"]
