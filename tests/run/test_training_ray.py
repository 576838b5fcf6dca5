"""Training under Ray Train on this machine: the curve of one worker, and what a killed worker costs."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load, save

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.build import build_adaptor
from expotion.contracts import TrainingCallback
from expotion.errors import ExpotionError
from expotion.features.encoders import build_encoders
from expotion.musicgen.load import backbone_folder, load_backbone
from expotion.plugins import discover
from expotion.progress import stage_progress
from expotion.recipe import Recipe, load_recipe
from expotion.run.training import Callbacks, train_adaptor
from expotion.train.examples import Examples
from expotion.train.loop import Loop
from expotion.train.ray import from_arrays, to_arrays
from expotion.workers import connected

RECIPE = """\
name: workers
seed: 3
data: {source: conductor, train_clips: 18, test_clips: 2, clip_s: 1.0}
backbone: {source: tiny}
text: {encoder: text_t5, prompt: caption}
conditions:
  - {name: motion, encoder: motion_synchformer, rank: 4}
adaptor: {layers: 1}
train:
  steps: 8
  warmup_steps: 0
  precision: fp32
  checkpoint_every_steps: 2
  validate_every_steps: 4
"""
N_CLIPS, N_FRAMES = 18, 30


@pytest.fixture
def recipe_of(tmp_path: Path) -> Any:
    """The recipe with changes."""
    path = tmp_path / "workers.yaml"
    path.write_text(RECIPE)
    return lambda *sets: load_recipe(path, registry=discover(), sets=sets)


def make_examples(width: int, text_width: int) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(
        codes=torch.randint(0, 200, (N_CLIPS, 4, N_FRAMES), generator=generator),
        n_frames=torch.tensor([N_FRAMES - i % 4 for i in range(N_CLIPS)]),
        text=torch.randn(N_CLIPS, 3, text_width, generator=generator),
        text_mask=torch.ones(N_CLIPS, 3, dtype=torch.bool),
        controls={"motion": torch.randn(N_CLIPS, N_FRAMES + 1, width, generator=generator)},
        valid={"motion": torch.ones(N_CLIPS, N_FRAMES + 1, dtype=torch.bool)},
    )


def train(recipe: Recipe, folder: Path, callback: TrainingCallback | None = None) -> Loop:
    registry = discover()
    backbone = load_backbone(backbone_folder(recipe.backbone.source, registry))
    encoders = build_encoders(recipe, registry)
    width = encoders["motion"].spec.width(encoders["motion"].options)
    assert backbone.geometry.text_width is not None
    examples = make_examples(width, backbone.geometry.text_width)
    adaptor: Adaptor = build_adaptor(recipe, encoders, backbone.geometry, N_FRAMES + 1)
    with stage_progress(Console(quiet=True), "training") as progress:
        return train_adaptor(
            backbone.lm,
            adaptor,
            examples,
            recipe,
            backbone=backbone_folder(recipe.backbone.source, registry),
            checkpoints=folder,
            trace="workers-test",
            progress=progress,
            callbacks=Callbacks({} if callback is None else {"test": callback}),
        )


@pytest.fixture(scope="module")
def started_ray() -> Iterator[None]:
    """A Ray that `local` finds started: to start it takes longer than to train."""
    with connected("local", cpus=3, store_bytes=300_000_000, library="ray.train"):
        yield


class Killer(TrainingCallback):
    """Kills the last worker once step 4 has been reported."""

    def __init__(self, log: pytest.LogCaptureFixture) -> None:
        self.log, self.steps, self.killed = log, [], False

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        pass

    def on_step(self, record: Mapping[str, Any]) -> None:
        self.steps.append(record["step"])
        if record["step"] == 4 and not self.killed:
            self.killed = True
            found = re.findall(r"worker \d: process (\d+)", self.log.text)
            os.kill(int(found[-1]), signal.SIGKILL)

    def on_end(self, finished: bool) -> None:
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("started_ray")
def test_two_workers_give_the_curve_of_one_even_when_one_is_killed(
    recipe_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = train(recipe_of("train.batch_size=4"), tmp_path / "alone")
    with caplog.at_level(logging.INFO, logger="expotion"):
        killer = Killer(caplog)
        both = train(recipe_of("train.batch_size=2", "train.workers=2"), tmp_path / "both", killer)
    assert killer.killed
    assert re.search(r"workers were lost; training goes on from step [24]", caplog.text)
    assert killer.steps == list(range(8))
    for key in ("loss", "gradient_norm", "validation_loss"):
        values = [[r[key] for r in run.records if key in r] for run in (alone, both)]
        assert len(values[0]) >= 3
        np.testing.assert_allclose(values[0], values[1], rtol=1e-4, err_msg=key)
    for name, tensor in alone.trained.state_dict().items():
        torch.testing.assert_close(tensor, both.trained.state_dict()[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("started_ray")
def test_what_a_killed_worker_leaves_goes_on_with_and_without_workers(
    recipe_of: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Ray kept checkpoints before, too; from one checkpoint the same bytes, wherever it lay."""

    def weights(run: Loop) -> bytes:
        return save({name: tensor.clone() for name, tensor in run.trained.state_dict().items()})

    one = recipe_of("train.workers=1", "cluster.max_failures=0")
    none = recipe_of("train.workers=1", "cluster.workers=0")
    stopped = tmp_path / "stopped"
    with caplog.at_level(logging.INFO, logger="expotion"):
        with pytest.raises(ExpotionError, match=r"workers that stay alive, got killed.*go on with --resume"):
            train(one, stopped, Killer(caplog))
        kept = sorted(path.name for path in stopped.iterdir())
        assert kept in (["step_000002", "step_000004"], ["step_000004", "step_000006"])
        before = tmp_path / "before"
        for number, name in enumerate(kept):
            old = before / "ray-workers-test" / f"checkpoint_2026-11-0{number + 1}_20-42-16.123456"
            shutil.copytree(stopped / name, old)
        shutil.copytree(stopped, tmp_path / "here")
        ended = [
            weights(train(one, stopped)),
            *(weights(train(none, folder)) for folder in (tmp_path / "whole", tmp_path / "here", before)),
        ]
    assert caplog.text.count(f"training resumes at step {int(kept[-1][-6:])}") == 3
    under_ray, whole, here, from_before = ended
    assert here == from_before
    for name, tensor in load(whole).items():  # a worker's threads may be others than ours
        torch.testing.assert_close(load(here)[name], tensor, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(load(under_ray)[name], tensor, rtol=1e-3, atol=1e-5)


def test_two_workers_may_become_none(recipe_of: Any, tmp_path: Path) -> None:
    """Their batches stay: this process computes one after the other."""
    few = ("train.batch_size=2", "train.steps=2")
    two = train(recipe_of(*few, "train.workers=2", "cluster.workers=0"), tmp_path / "two")
    parts = train(recipe_of(*few, "train.accumulate=2"), tmp_path / "parts")
    assert [record["loss"] for record in two.records] == [record["loss"] for record in parts.records]


def test_more_workers_than_clips_is_refused(recipe_of: Any, tmp_path: Path) -> None:
    with pytest.raises(ExpotionError, match=r"train\.workers.*one worker per training clip \(16\).*20"):
        train(recipe_of("train.workers=20"), tmp_path)


def test_an_address_where_nothing_answers(recipe_of: Any, tmp_path: Path) -> None:
    with pytest.raises(ExpotionError, match=r"--ray 127\.0\.0\.1:9.*a Ray cluster that answers"):
        train(recipe_of("train.workers=2", "cluster.ray=127.0.0.1:9"), tmp_path)


def test_examples_travel_unchanged() -> None:
    examples = make_examples(5, 6)
    arrays = to_arrays(examples)
    for array in arrays.values():
        array.flags.writeable = False  # as in Ray's shared memory
    back = from_arrays(arrays)
    assert torch.equal(back.codes, examples.codes)
    assert torch.equal(back.controls["motion"], examples.controls["motion"])
    assert back.controls.keys() == examples.controls.keys()
