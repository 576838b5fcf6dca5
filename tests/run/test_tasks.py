"""Recipes that name a task: a plugin's stages with core's folder, resume, loop, scores and report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from expotion.cli.main import run as cli
from expotion.contracts import Options, Scored, Stage, TaskCost, TaskRun, TaskSpec, Workers
from expotion.errors import RecipeError, RunFolderError
from expotion.machine.gpus import Gpu
from expotion.plugins import Offer, Registry, discover
from expotion.recipe.tasks import TaskRecipe, load_task
from expotion.rehearse.estimate import cost_of_task
from expotion.run.stages import run_recipe
from expotion.testing import SyntheticClip
from expotion.train.checkpoints import CheckpointFolder
from expotion.train.loop import Loop

RECIPE = """\
name: lines
task: line
options: {slope: 2.0}
train: {steps: 60, batch_size: 4, learning_rate: 0.2, schedule: constant, warmup_steps: 0, weight_decay: 0.0,
  validate_every_steps: 20, checkpoint_every_steps: 20}
evaluate: {metrics: [level_sane]}
"""


class LineOptions(Options):
    slope: float = 1.0
    heard: str = "all"


class Line:
    """A slope that is learned from points on a line."""

    computed_in = torch.float32

    def __init__(self, slope: float, settings: Any, seed: int) -> None:
        self.slope, self.settings, self.seed = slope, settings, seed
        self.trained = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.trained.weight)

    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"other": list(self.trained.parameters())}

    def draw(self, step: int) -> Tensor:
        points = np.random.default_rng((self.seed, step)).normal(size=(self.settings.clips_per_step, 1))
        return torch.tensor(points, dtype=torch.float32)

    def part_loss(self, draw: Tensor, number: int) -> Tensor:
        size = self.settings.batch_size
        part = draw[number * size : (number + 1) * size]
        return (self.trained(part) - self.slope * part).square().sum() / len(draw)

    def validate(self, world: Workers) -> dict[str, float]:
        return {"validation_loss": float((self.trained.weight.detach() - self.slope).square())}

    def record(self) -> dict[str, Any]:
        return {"slope": float(self.trained.weight.detach())}


def registry(done: list[str], missing: Sequence[Any] = ()) -> Registry:
    def learn(options: LineOptions, run: TaskRun) -> None:
        done.append("learn")
        found = run.train(Line(options.slope, run.settings, run.seed))
        (run.folder / "slope.json").write_text(json.dumps(float(found.weight.detach())))

    def score(run: TaskRun) -> None:
        done.append("score")
        run.note("one sound only")
        sound = SyntheticClip(duration_s=0.5).audio(8_000)
        assert sound is not None
        table = run.score({"line": [Scored(sound, 8_000, SyntheticClip(duration_s=0.5))]})
        assert all(found["n"] == 1 for found in table["line"].values())

    def stages(options: LineOptions) -> list[Stage]:
        return [Stage("learn", partial(learn, options), ("slope",)), Stage("score", score, scores=True)]

    spec = TaskSpec("line", "learn a slope", stages, LineOptions, ("level_sane",), lambda options: missing)
    installed = discover()
    return replace(installed, tables={**installed.tables, "task": {"line": Offer(spec, "expotion-line", "1.0")}})


def load(path: Path, known: Registry, **more: Any) -> TaskRecipe:
    recipe = load_task(path, registry=known, **more)
    assert recipe is not None
    return recipe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "lines.yaml"
    file.write_text(RECIPE)
    return file


def start(recipe: TaskRecipe, known: Registry, out: Path) -> Path:
    return run_recipe(recipe=recipe, registry=known, out_dir=out, resume=None, console=Console(quiet=True))


def test_a_task_is_run_once_and_reported(path: Path, tmp_path: Path) -> None:
    done: list[str] = []
    known, out = registry(done), tmp_path / "run"
    start(load(path, known), known, out)
    assert json.loads((out / "slope.json").read_text()) == pytest.approx(2.0, abs=0.1)
    records = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert len(records) == 60 and records[-1]["slope"] == pytest.approx(2.0, abs=0.1)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "one sound only" in page and "learn a slope" in page
    start(load(path, known), known, out)
    assert done == ["learn", "score"]
    # What is measured may change; what was learned stays.
    start(load(path, known, sets=["evaluate.metrics=[]"]), known, out)
    assert done == ["learn", "score", "score"]


def test_the_folder_holds_the_recipe_and_no_other(path: Path, tmp_path: Path) -> None:
    known, out = registry([]), tmp_path / "run"
    recipe = load(path, known)
    start(recipe, known, out)
    again = load(out / "recipe.yaml", known)
    assert again == recipe
    with pytest.raises(RunFolderError, match="other settings"):
        start(load(path, known, sets=["options.slope=3.0"]), known, out)


def test_an_interrupted_training_is_the_uninterrupted_one(path: Path, tmp_path: Path) -> None:
    settings = load(path, registry([])).train

    def loop(folder: Path) -> Loop:
        return Loop(Line(2.0, settings, 5), settings, keeper=CheckpointFolder(folder), trace="t")

    whole = loop(tmp_path / "whole")
    list(whole.run())
    broken = loop(tmp_path / "broken")
    for record in broken.run():
        if record["step"] == 33:
            break
    resumed = loop(tmp_path / "broken")
    assert resumed.resume() and resumed.step_number == 20
    list(resumed.run())
    assert torch.equal(whole.finish().weight, resumed.finish().weight)  # type: ignore[arg-type]
    timeless = [{**record, "step_s": 0} for record in whole.records]
    assert timeless == [{**record, "step_s": 0} for record in resumed.records]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("slope: 2.0", "slop: 2.0"), r"lines\.yaml:3 .*slop"),
        (("task: line", "task: lime"), "did you mean 'line'"),
        (("level_sane", "level_sain"), "did you mean 'level_sane'"),
        (("task: line", "task: line\nconditions: []"), "conditions"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: Path, change: tuple[str, str], told: str) -> None:
    path.write_text(RECIPE.replace(*change))
    with pytest.raises(RecipeError, match=told):
        load(path, registry([]))


def test_a_recipe_without_a_task_is_none_of_these(path: Path) -> None:
    path.write_text("name: other\ndata: {source: conductor}\n")
    assert load_task(path, registry=registry([])) is None


def test_what_a_task_costs_is_computed(path: Path) -> None:
    known = registry([])
    spec = replace(known.tables["task"]["line"].spec, cost=lambda options: TaskCost(10**9, 10**6, 10**9, 1e12))
    known = replace(known, tables={**known.tables, "task": {"line": Offer(spec, "expotion-line", "1.0")}})
    told = cost_of_task(load(path, known), known, [Gpu("card", 100, 1000, 24, 0.5)])
    assert told["memory_bytes"] == 2 * 10**9 + 16 * 10**6 + 4 * 10**9
    assert told["gpus"]["card"] == {"training_s": pytest.approx(60 * 4 / 100 / 0.5), "largest_batch": 20}


def test_the_commands_know_tasks(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = registry([])
    monkeypatch.setattr("expotion.plugins.discover", lambda: known)
    assert cli(["recipe", "check", str(path)]) == 0
    assert "stages: learn, score" in capsys.readouterr().out
    assert cli(["recipe", "show", str(path)]) == 0
    assert "slope: 2.0" in capsys.readouterr().out
    assert cli(["recipe", "list", "--dir", str(tmp_path)]) == 0
    assert "lines" in capsys.readouterr().out
    assert cli(["recipe", "rehearse", str(path)]) == 1
    assert "a task that says what it costs" in capsys.readouterr().err
    out = tmp_path / "run"
    assert cli(["recipe", "run", str(path), "--out", str(out), "--set", "train.steps=3"]) == 0
    assert (out / "report.html").is_file()
    assert cli(["recipe", "run", "--resume", str(out)]) == 0
