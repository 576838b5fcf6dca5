"""The training stage of a run: resume, log, checkpoint, publish the adaptor folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import save_adaptor
from expotion.backbone.load import Backbone
from expotion.contracts import Encoder
from expotion.files import replacing
from expotion.pipeline.callbacks import Callbacks
from expotion.pipeline.progress import StageProgress
from expotion.recipe import Recipe
from expotion.training.augment import ContextSwap
from expotion.training.checkpoints import CheckpointFolder
from expotion.training.examples import Examples
from expotion.training.loop import Record, TrainingRun
from expotion.training.settings import EarlyStopping, TrainingSettings
from expotion.training.standardise import standardise_inputs
from expotion.training.trunk import TrunkCache

log = logging.getLogger("expotion")
GIB = 2**30


def training_settings(recipe: Recipe) -> TrainingSettings:
    """The loop's numbers from the recipe's."""
    train = recipe.train
    rate, stopping = train.learning_rate, train.early_stopping
    return TrainingSettings(
        n_steps=train.steps,
        batch_size=train.batch_size,
        learning_rate={"project": rate.project, "gates": rate.gates, "other": rate.other},
        warmup_steps=train.warmup_steps,
        weight_decay=train.weight_decay,
        betas=(train.betas[0], train.betas[1]),
        clip_norm=train.clip_norm,
        swap=ContextSwap(**train.context_swap.model_dump()),
        condition_dropout=recipe.condition_dropout(),
        text_dropout=train.text_dropout,
        seed=recipe.train_seed,
        final_ratio=train.final_learning_rate_ratio,
        constant=train.schedule == "constant",
        ema=train.ema,
        n_parts=train.accumulate * max(1, train.workers),
        early_stopping=None if stopping is None else EarlyStopping(**stopping.model_dump()),
        recompute_activations=train.recompute_activations,
        checkpoint_every_steps=train.checkpoint_every_steps,
        validate_every_steps=train.validate_every_steps,
    )


def split_validation(examples: Examples, at_most: int = 16) -> tuple[Examples, Examples | None]:
    """The last clips, at most an eighth of them, are kept for validation; none where there are too few."""
    n_validation = min(at_most, len(examples) // 8)
    if n_validation < 2:
        return examples, None
    n_train = len(examples) - n_validation
    return examples.take(np.arange(n_train)), examples.take(np.arange(n_train, len(examples)))


def train_adaptor(
    lm: Any,
    adaptor: Adaptor,
    examples: Examples,
    recipe: Recipe,
    *,
    checkpoints: Path,
    trace: str,
    progress: StageProgress,
    callbacks: Callbacks | None = None,
) -> TrainingRun:
    """Train to the end, going on from the newest checkpoint of the same run if there is one."""
    train, validation = split_validation(examples, recipe.train.validation_clips)
    standardise_inputs(adaptor, train)
    cache = None
    if recipe.train.trunk_cache_gib > 0 and adaptor.config.first_adapted_layer > 0:
        cache = TrunkCache(checkpoints.parent / "trunk", int(recipe.train.trunk_cache_gib * GIB))
    run = TrainingRun(
        lm,
        adaptor,
        train,
        training_settings(recipe),
        validation=validation,
        keeper=CheckpointFolder(checkpoints),
        trace=trace,
        trunk_cache=cache,
    )
    if run.resume():
        log.info("training resumes at step %d", run.step_number)
    for note in run.notes:
        log.warning("%s", note)
    callbacks = callbacks or Callbacks()
    callbacks.on_start(checkpoints.parent, recipe.to_dict(), run.step_number)
    finished = False
    try:
        for record in run.run():
            progress.update(run.step_number, run.settings.n_steps, _note(record))
            _log(record)
            callbacks.on_step(record)
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
    return run


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
