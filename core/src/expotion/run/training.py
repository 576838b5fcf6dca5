"""The training stage of a run: resume, log, checkpoint, publish the adaptor folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from expotion.adaptor.adaptor import Adaptor
from expotion.contracts import TrainingCallback
from expotion.errors import FAULTS, ExpotionError, Problem, in_short
from expotion.music.compose import compose
from expotion.music.request import Request
from expotion.music.sound import to_sound
from expotion.music.steering import Steering
from expotion.music.windows import Windows
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine import prepare
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.load import Backbone
from expotion.plugins import Registry
from expotion.progress import StageProgress
from expotion.recipe import Recipe
from expotion.recipe.schema import Train, Trained
from expotion.train.checkpoints import CheckpointFolder, CheckpointStorage
from expotion.train.examples import Examples, standardise_inputs
from expotion.train.loop import Loop, Record, SteeredMusic
from expotion.train.ray import Arrays, Build, BuildSteered, to_arrays, train_over_ray
from expotion.video.sound_files import write_wav

log = logging.getLogger("expotion")
MARKS = (
    ("loss", "·", "training"),
    ("baseline_loss", "-", "without controls"),
    ("validation_loss", "●", "validation"),
)
VALIDATED = ("loss", "validation_loss", "control_gain")
SMOOTHING = 0.1
"""Share of the width over which the training loss is averaged."""


def split_validation(examples: Examples, settings: Train, n_given: int = 0) -> tuple[Examples, Examples | None]:
    """What is trained on, and what validates: the last `n_given` clips, or without such the last ones kept back."""
    n_used = settings.n_validated(len(examples), n_given)
    n_train = len(examples) - (n_given or n_used)
    validation = examples.take(np.arange(n_train, n_train + n_used)) if n_used else None
    return examples.take(np.arange(n_train)), validation


def train_adaptor(
    lm: MusicGenLM,
    adaptor: Adaptor,
    examples: Examples,
    recipe: Recipe,
    *,
    backbone: str,
    checkpoints: Path,
    trace: str,
    progress: StageProgress,
    callbacks: Callbacks | None = None,
    on_weights: Callable[[int], object] | None = None,
    n_validation: int = 0,
) -> Loop:
    """Train to the end, going on from the newest checkpoint of the same run if there is one.

    `backbone` is where other processes find the same model (`train.workers`). `on_weights(n_steps)` is called
    every `train.sample_every_steps` steps. The last `n_validation` examples are the data's own for validation.
    """
    train, validation = split_validation(examples, recipe.train, n_validation)
    if not len(train):
        fix = "see the failures above"
        raise ExpotionError(Problem("train", "at least one usable training clip", "none", fix))
    if recipe.n_processes > len(train):
        wanted, fix = (
            f"at most one worker per training clip ({len(train)})",
            "lower train.workers, or give more clips",
        )
        raise ExpotionError(Problem("train.workers", wanted, str(recipe.n_processes), fix))
    standardise_inputs(adaptor, train)
    recipe = recipe.model_copy(update={"train": recipe.train.in_steps(len(train))})

    music = SteeredMusic(lm, adaptor, train, recipe.train, recipe.train_seed, validation)
    run = Loop(music, recipe.train, keeper=keeper_of(recipe, checkpoints, trace), trace=trace)
    source = str(Path(backbone).resolve()) if Path(backbone).is_dir() else backbone
    train_to_end(
        run,
        recipe,
        build=BuildSteered(recipe, source, adaptor, run.keeper, trace),
        data=[to_arrays(part) for part in (train, music.validation) if part is not None]
        if recipe.n_processes
        else [],
        folder=checkpoints.parent,
        progress=progress,
        callbacks=callbacks,
        on_weights=on_weights,
    )
    return run


def train_to_end(
    run: Loop,
    recipe: Trained,
    *,
    build: Build,
    data: Sequence[Arrays] = (),
    folder: Path,
    progress: StageProgress,
    callbacks: Callbacks | None = None,
    on_weights: Callable[[int], object] | None = None,
) -> None:
    """Train to the end in this process or on workers, going on from the newest checkpoint of the same run.

    `build` and `data` as for `train_over_ray`. Raises ExpotionError, and KeyboardInterrupt after a checkpoint.
    """

    def warn(what: str) -> None:
        log.warning("%s", what)
        progress.console.print(f"[yellow]warning[/] {escape(what)}", highlight=False)

    run.warn = warn
    callbacks = callbacks or Callbacks()

    def on_record(record: Record) -> None:
        note = f"loss {record['loss']:.3f}  {record['step_s']:.2f} s/step"
        progress.update(record["step"] + 1, recipe.train.steps, note)
        if "validation_loss" in record:
            told = {name: value for name, value in record.items() if name in VALIDATED}
            words = [f"{name.replace('_', ' ')} {value:.4f}" for name, value in told.items()]
            log.info("step %d %s", record["step"], " ".join(words))
        callbacks.on_step(record)

    finished = False
    try:
        if run.resume():
            log.info("training resumes at step %d", run.step_number)
        for note in run.notes:
            warn(note)
        callbacks.on_start(folder, recipe.to_dict(), run.step_number)
        if recipe.n_processes > 0 and run.step_number < recipe.train.steps:
            train_over_ray(run, recipe, build=build, data=data, on_record=on_record, on_weights=on_weights)
        else:
            for record in run.run():
                on_record(record)
                if on_weights is not None and run.step_number % recipe.train.sample_every_steps == 0:
                    on_weights(run.step_number)
        finished = True
    except KeyboardInterrupt:
        run.save()  # it may have come here, between two steps
        raise
    finally:
        callbacks.on_end(finished)
    if run.stopped_early:
        log.info("stopped early at step %d; the weights of step %d are kept", run.step_number, run.best_step)
    run.finish()
    for line in curve_lines(run.records):
        progress.console.print(line, highlight=False, markup=False)


def keeper_of(recipe: Trained, folder: Path, trace: str) -> CheckpointFolder:
    """Where checkpoints are: `folder`, which every worker reaches, or for workers the storage that they share."""
    if not recipe.train.workers or recipe.cluster.storage is None:
        return CheckpointFolder(folder.absolute())
    place = f"{recipe.cluster.storage}/ray-{trace[:12] or 'run'}"
    return CheckpointStorage(place) if "://" in place else CheckpointFolder(Path(place).absolute())


@dataclass(frozen=True)
class TrainingSamples:
    """Composes one test clip every so many steps, into `step_NNNNNN.wav` of a folder.

    The same seed each time: what differs is the adaptor's doing.
    """

    folder: Path
    backbone: Backbone
    adaptor: Adaptor
    steering: Steering
    windows: Windows
    request: Request
    n_samples: int

    @cached_property
    def _model(self) -> Engine:
        return prepare(self.backbone.lm, self.steering.precision)

    def make(self, step: int) -> None:
        """Compose and write the sample after `step` steps, with the adaptor as it is; a failure is only logged."""
        assert self.backbone.codec is not None
        try:
            codes = compose(self._model, self.adaptor, [self.request], self.steering, self.windows)[0]
            sound = to_sound(self.backbone.codec, codes, self.n_samples)
            write_wav(self.folder / f"step_{step:06d}.wav", sound, self.backbone.sample_rate_hz)
        except ExpotionError as error:  # a full disk, say: no reason to lose the training
            log.warning("no sample of step %d: %s", step, error)


class Callbacks:
    """All training callbacks of a run. One that raises is named in the log and not called again."""

    def __init__(self, callbacks: Mapping[str, TrainingCallback] | None = None) -> None:
        self._callbacks = dict(callbacks or {})

    @classmethod
    def of(cls, names: Sequence[str], registry: Registry) -> Callbacks:
        """Build those that a recipe names. Raises PluginError for an unknown name or a missing package."""
        return cls({name: registry.offer("training callback", name).spec.build() for name in names})

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Training starts or goes on."""
        self._tell(lambda callback: callback.on_start(folder, recipe, first_step))

    def on_step(self, record: Mapping[str, Any]) -> None:
        """A step is done."""
        self._tell(lambda callback: callback.on_step(record))

    def on_end(self, finished: bool) -> None:
        """Training is over."""
        self._tell(lambda callback: callback.on_end(finished))

    def _tell(self, call: Callable[[TrainingCallback], None]) -> None:
        for name, callback in list(self._callbacks.items()):
            try:
                call(callback)
            except FAULTS as error:  # what watches training must not end it
                log.warning("callback %s is left out from here on: %s", name, in_short(error))
                del self._callbacks[name]


def curve_lines(records: Sequence[Mapping[str, Any]], *, width: int = 70, height: int = 10) -> list[str]:
    """The curve of a training run for a terminal: a chart of `width` x `height` characters with its axes.

    Lines of text; [] where there are under 3 steps.
    """
    if len(records) < 3:
        return []
    series = {}
    for key, _, _ in MARKS:
        points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
        points = [(x, y) for x, y in points if np.isfinite(y)]
        if points:
            x, y = (np.asarray(values, dtype=np.float64) for values in zip(*points, strict=True))
            series[key] = (x, _smooth(y) if key == "loss" else y)
    values = np.concatenate([y for _, y in series.values()])
    low, high = float(values.min()), float(np.percentile(values, 99))
    span = max(high - low, 1e-9)
    first, last = records[0]["step"], max(records[-1]["step"], records[0]["step"] + 1)
    grid = [[" "] * width for _ in range(height)]
    for key, mark, _ in MARKS:
        for x, y in zip(*series.get(key, ((), ())), strict=True):
            column = round((x - first) / (last - first) * (width - 1))
            row = round((high - min(y, high)) / span * (height - 1))
            grid[row][column] = mark
    labels = {0: f"{high:.3f}", height - 1: f"{low:.3f}"}
    lines = [f"{labels.get(row, ''):>7} |{''.join(cells).rstrip()}" for row, cells in enumerate(grid)]
    lines.append(f"{'':>7} +{'-' * width}")
    lines.append(f"{'step':>7}  {first:<{width - 10}}{last:>10}")
    legend = "   ".join(f"{mark} {name} {series[key][1][-1]:.3f}" for key, mark, name in MARKS if key in series)
    return [*lines, f"{'':>9}{legend}"]


def _smooth(y: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean over the steps before, as many as SMOOTHING of the run."""
    n = max(1, round(SMOOTHING * len(y)))
    total = np.cumsum(np.concatenate([np.zeros(1), y]))
    ends = np.arange(1, len(y) + 1)
    starts = np.maximum(0, ends - n)
    means: np.ndarray[Any, np.dtype[np.float64]] = (total[ends] - total[starts]) / (ends - starts)
    return means
