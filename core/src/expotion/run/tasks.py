"""`expotion recipe run` of a recipe that names a task: a plugin's stages, core's folder, resume, loop, report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from torch import nn

from expotion.contracts import Clip, Objective, Scored, Stage
from expotion.errors import Problem, RecipeError
from expotion.evaluate.evaluate import Evaluation, evaluate, load_evaluation, write_evaluation
from expotion.files import write_text
from expotion.plugins import Registry
from expotion.progress import StageProgress, stage_progress
from expotion.recipe.tasks import TaskRecipe
from expotion.run.folder import RunFolder
from expotion.run.reporting import plugin_sections, training_history, write_run_report
from expotion.run.training import keeper_of, train_to_end
from expotion.train.loop import Loop
from expotion.train.ray import BuildObjective

log = logging.getLogger("expotion")


class Task:
    """A running task: what its stages are given (`contracts.TaskRun`)."""

    def __init__(self, recipe: TaskRecipe, registry: Registry, run: RunFolder, console: Console) -> None:
        self.recipe, self.registry, self.run, self.console = recipe, registry, run, console
        self.folder, self.seed, self.settings = run.path, recipe.train_seed, recipe.train
        self.spec = registry.offer("task", recipe.task).spec
        self.specs = [registry.metric(name) for name in dict.fromkeys(recipe.evaluate.metrics or ())]
        self.trace = ""
        self._shown: StageProgress | None = None

    def all(self) -> None:
        """Every stage in order, then the report."""
        done = True
        values = self.recipe.to_dict()
        for stage in self.spec.stages(self.spec.options(**self.recipe.options)):
            self.trace = self._key(stage, values)
            if done and self.run.is_done(stage.name, self.trace):
                continue
            done = False  # what follows stands on it
            with self.run.stage(stage.name, self.trace), stage_progress(self.console, stage.name) as self._shown:
                stage.run(self)
        if not done or not (self.folder / "report.html").is_file():
            with self.run.stage("report", self.trace), stage_progress(self.console, "report"):
                self._report()

    def _key(self, stage: Stage, values: Mapping[str, Any]) -> str:
        train = {key: value for key, value in values["train"].items() if key != "workers"}
        train["clips_per_step"] = self.settings.clips_per_step
        own = [
            stage.name,
            values["data"],
            {key: values["options"][key] for key in stage.depends_on},
            train,
            values["seed"],
        ]
        own += [values["evaluate"]] if stage.scores else []
        return hashlib.sha256(json.dumps([self.trace, own], sort_keys=True).encode()).hexdigest()

    def clips(self, split: Literal["train", "validation", "test"]) -> Sequence[Clip]:
        """Clips of the recipe's data."""
        given = self.recipe.data
        if given is None:
            fix = "for example `data: {source: manifest, path: corpus/split.jsonl}`"
            raise RecipeError(Problem("data", f"a data source for the task {self.spec.name}", "none", fix))
        source = self.registry.data_source(given.source)
        data = source.build(source.options(**given.options))
        return data.validation() if split == "validation" else data.clips(split)

    def progress(self, stage: str, done: int, total: int, what: str = "") -> None:
        """Say how far a stage is."""
        assert self._shown is not None
        self._shown.update(done, total, f"{stage} {what}".strip())

    def note(self, text: str) -> None:
        """Say something that stands in the report, too."""
        log.warning("%s", text)
        self.console.print(f"[yellow]note[/] {escape(text)}", highlight=False)
        notes = self.run.state.setdefault("notes", [])
        notes += [text] if text not in notes else []

    def train(self, objective: Objective) -> nn.Module:
        """Train to the end, or go on from the newest checkpoint; what is trained, as it is at the end."""
        assert self._shown is not None
        keeper = keeper_of(self.recipe, self.run.checkpoints, self.trace)
        loop = Loop(objective, self.settings, keeper=keeper, trace=self.trace)
        build = BuildObjective(objective, self.settings, keeper, self.trace)
        train_to_end(loop, self.recipe, build=build, folder=self.folder, progress=self._shown)
        write_text(self.folder / "training.jsonl", "".join(json.dumps(step) + "\n" for step in loop.records))
        return loop.trained

    def score(self, rows: Mapping[str, Sequence[Scored]]) -> Mapping[str, Mapping[str, Any]]:
        """Score rows by the recipe's metrics and keep what is found in the run folder."""
        evaluation = evaluate(
            rows,
            self.specs,
            seed=self.recipe.seed,
            n_resamples=self.recipe.evaluate.bootstrap,
            on_progress=lambda what, done, total: self.progress("score", done, total, what),
        )
        write_evaluation(self.folder, evaluation)
        return evaluation.metrics

    def _report(self) -> None:
        scored = (self.folder / "metrics.json").is_file()
        evaluation = load_evaluation(self.folder) if scored else Evaluation({}, {}, {})
        history = self.folder / "training.jsonl"
        lines = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
        main = next(iter(evaluation.metrics), None)
        write_run_report(
            self.run,
            self.recipe,
            evaluation,
            self.specs if scored else [],
            training_history([json.loads(line) for line in lines], None),
            [],
            main,
            plugin_sections(self.registry, self.recipe.plugins, self.folder),
            facts={"task": f"{self.spec.name}: {self.spec.description}"},
            warnings=self.run.state.get("notes", []),
            failures=[],
        )
