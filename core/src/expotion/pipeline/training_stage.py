"""The training stage of a run: resume, log, checkpoint, publish the adaptor folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.markup import escape

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import save_adaptor
from expotion.backbone.decoder import MusicGenLM
from expotion.backbone.load import Backbone
from expotion.contracts import Encoder
from expotion.errors import ExpotionError, Problem
from expotion.files import replacing
from expotion.pipeline.callbacks import Callbacks
from expotion.pipeline.curve import curve_lines
from expotion.pipeline.progress import StageProgress
from expotion.pipeline.training_ray import train_over_ray
from expotion.pipeline.training_samples import TrainingSamples
from expotion.pipeline.training_settings import training_settings
from expotion.recipe import Recipe
from expotion.training.checkpoints import CheckpointFolder
from expotion.training.examples import Examples
from expotion.training.loop import Record, TrainingRun
from expotion.training.standardise import standardise_inputs
from expotion.training.trunk import TrunkCache

log = logging.getLogger("expotion")
GIB = 2**30


def split_validation(
    examples: Examples, at_most: int = 16, n_given: int = 0
) -> tuple[Examples, Examples | None]:
    """The last `n_given` clips are the data's own for validation, of which `at_most` are used.

    Without such the last clips, at most an eighth of them, are kept back; none where there are too few. One clip
    alone is none: the loss is compared with that of another clip's controls.
    """
    n_train = len(examples) - n_given
    if n_given:
        n_used = min(at_most, n_given)
        train = examples.take(np.arange(n_train))
        return train, examples.take(np.arange(n_train, n_train + n_used)) if n_used >= 2 else None
    n_validation = min(at_most, len(examples) // 8)
    if n_validation < 2:
        return examples, None
    n_train = len(examples) - n_validation
    return examples.take(np.arange(n_train)), examples.take(np.arange(n_train, len(examples)))


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
    samples: TrainingSamples | None = None,
    n_validation: int = 0,
) -> TrainingRun:
    """Train to the end, going on from the newest checkpoint of the same run if there is one.

    `backbone` is where other processes find the same model (`train.workers`). `samples` makes sound every
    `train.sample_every_steps` steps. The last `n_validation` examples are the data's own for validation.
    """
    train, validation = split_validation(examples, recipe.train.validation_clips, n_validation)
    if not len(train):
        fix = "see the failures above"
        raise ExpotionError(Problem("train", "at least one usable training clip", "none", fix))
    if recipe.train.workers > len(train):
        raise ExpotionError(
            Problem(
                "train.workers",
                f"at most one worker per training clip ({len(train)})",
                str(recipe.train.workers),
                "lower train.workers, or give more clips",
            )
        )
    standardise_inputs(adaptor, train)
    settings = training_settings(recipe)

    def warn(what: str) -> None:
        log.warning("%s", what)
        progress.console.print(f"[yellow]warning[/] {escape(what)}", highlight=False)

    cache = _trunk_cache(recipe, adaptor, checkpoints.parent / "trunk")
    run = TrainingRun(
        lm,
        adaptor,
        train,
        settings,
        validation=validation,
        keeper=CheckpointFolder(checkpoints),
        trace=trace,
        trunk_cache=cache,
        warn=warn,
    )
    callbacks = callbacks or Callbacks()

    def on_record(record: Record) -> None:
        progress.update(record["step"] + 1, settings.n_steps, _note(record))
        _log(record)
        callbacks.on_step(record)

    def on_weights(n_steps: int) -> None:
        if samples is not None:
            samples.make(n_steps, adaptor)

    every = recipe.train.sample_every_steps if samples is not None else 0
    finished = False
    try:
        if recipe.train.workers > 0:
            callbacks.on_start(checkpoints.parent, recipe.to_dict(), 0)
            train_over_ray(
                run,
                recipe,
                backbone=backbone,
                folder=checkpoints,
                on_record=on_record,
                on_weights=on_weights if every else None,
            )
        else:
            _resume(run)
            callbacks.on_start(checkpoints.parent, recipe.to_dict(), run.step_number)
            for record in run.run():
                on_record(record)
                if every and run.step_number % every == 0:
                    on_weights(run.step_number)
        finished = True
    except KeyboardInterrupt:
        run.save()  # it may have come here, between two steps
        raise
    finally:
        callbacks.on_end(finished)
    if run.stopped_early:
        log.info("stopped early at step %d; the weights of step %d are kept", run.step_number, run.best_step)
    if cache is not None:
        cache.clear()
    run.finish()
    for line in curve_lines(run.records):
        progress.console.print(line, highlight=False, markup=False)
    return run


def _resume(run: TrainingRun) -> None:
    if run.resume():
        log.info("training resumes at step %d", run.step_number)
    for note in run.notes:
        run.warn(note)


def _trunk_cache(recipe: Recipe, adaptor: Adaptor, folder: Path) -> TrunkCache | None:
    if recipe.train.trunk_cache_gib <= 0 or adaptor.config.first_adapted_layer == 0:
        return None
    return TrunkCache(folder, int(recipe.train.trunk_cache_gib * GIB))


def _log(record: Record) -> None:
    if "validation_loss" in record:
        log.info(
            "step %d loss %.4f validation %.4f control gain %.4f",
            record["step"],
            record["loss"],
            record["validation_loss"],
            record["control_gain"],
        )


def _note(record: Record) -> str:
    return f"loss {record['loss']:.3f}  {record['step_s']:.2f} s/step"


def write_history(path: Path, records: list[Record]) -> None:
    """One JSON line per step."""
    with replacing(path) as draft:
        draft.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def read_history(path: Path) -> list[Record]:
    """What `write_history` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def publish_adaptor(
    folder: Path,
    adaptor: Adaptor,
    recipe: Recipe,
    backbone: Backbone,
    encoders: Mapping[str, Encoder],
    versions: dict[str, str],
    window_frames: int,
) -> None:
    """Write the adaptor folder with everything that generation needs to build the same inputs."""
    save_adaptor(
        folder,
        adaptor,
        {
            "recipe": recipe.to_dict(),
            "backbone_hash": backbone.weights_hash,
            "encoder_hashes": {name: encoder.weights_hash for name, encoder in encoders.items()},
            "versions": versions,
            "window_frames": window_frames,
        },
    )
