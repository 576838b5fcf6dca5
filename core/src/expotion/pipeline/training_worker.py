"""One training worker under Ray Train: plain data in, the ordinary loop, checkpoints through Ray's storage."""

from __future__ import annotations

import os
import platform
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig
from expotion.assemble import build_encoders, build_projections, compute_dtype
from expotion.backbone.load import load_backbone
from expotion.errors import ExpotionError
from expotion.pipeline.training_settings import training_settings
from expotion.plugins import discover
from expotion.recipe import Recipe
from expotion.training.checkpoints import Found, read_files, write_files
from expotion.training.examples import Examples
from expotion.training.loop import TrainingRun
from expotion.training.sharding import ShardedLayers
from expotion.training.world import ProcessGroup

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class WorkerJob:
    """What every worker is told: the recipe and where the backbone lies, from which it builds everything."""

    recipe: dict[str, Any]
    backbone: str
    adaptor_config: dict[str, Any]
    weights: Arrays
    trace: str
    n_threads: int


def to_arrays(examples: Examples) -> Arrays:
    """Examples as flat numpy arrays: Ray shares these between the workers of a machine without copies."""
    arrays = {
        "codes": examples.codes,
        "n_frames": examples.n_frames,
        "text": examples.text,
        "text_mask": examples.text_mask,
        **{f"controls.{name}": track for name, track in examples.controls.items()},
        **{f"valid.{name}": valid for name, valid in examples.valid.items()},
    }
    return {name: tensor.numpy() for name, tensor in arrays.items()}


def from_arrays(arrays: Arrays) -> Examples:
    """The reverse of `to_arrays`; nothing is copied."""

    def below(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: _tensor(a) for name, a in arrays.items() if name.startswith(prefix)}

    return Examples(
        codes=_tensor(arrays["codes"]),
        n_frames=_tensor(arrays["n_frames"]),
        text=_tensor(arrays["text"]),
        text_mask=_tensor(arrays["text_mask"]),
        controls=below("controls."),
        valid=below("valid."),
    )


def _tensor(array: NDArray[Any]) -> Tensor:
    """A tensor on shared, read-only memory; the loop never writes to its examples."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


class RayKeeper:
    """Checkpoints through Ray Train, to whatever storage it was given. Every worker calls it at the same steps."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Worker 0 writes; the others wait for it."""
        from ray import train  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="expotion-checkpoint-") as folder:
            checkpoint = None
            if self.rank == 0:
                write_files(Path(folder), step, tensors, state)
                checkpoint = train.Checkpoint.from_directory(folder)
            train.report({"step": step}, checkpoint=checkpoint)

    def load(self) -> Found | None:
        """The newest intact checkpoint of the run."""
        from ray import train  # noqa: PLC0415

        newest = train.get_checkpoint()
        if newest is None:
            return None
        older = [kept.checkpoint for kept in reversed(train.get_all_reported_checkpoints())]
        notes: list[str] = []
        for checkpoint in [newest, *[kept for kept in older if kept.path != newest.path]]:
            try:
                with checkpoint.as_directory() as folder:
                    return *read_files(Path(folder)), notes
            except (OSError, ValueError) as error:
                notes.append(f"checkpoint {checkpoint.path} is damaged ({error}); trying the one before")
        return None

    def clear(self) -> None:
        """Nothing to forget: the folder's name holds the run's trace, so there are none of other settings."""


def work(config: dict[str, Any]) -> None:
    """Ray Train's loop on one worker. What is to be seen goes into the queue as (kind, content)."""
    import ray  # noqa: PLC0415

    job: WorkerJob = config["job"]
    queue = config["queue"]
    every = job.recipe["train"]["sample_every_steps"]
    torch.set_num_threads(job.n_threads)
    world = ProcessGroup()
    queue.put(("worker", {"rank": world.rank, "host": platform.node(), "pid": os.getpid()}))
    try:
        run = _build(job, ray.get(config["train"]), ray.get(config["validation"]), world)
        resumed = run.resume()
        if world.rank == 0:
            queue.put(("start", {"step": run.step_number, "resumed": resumed, "notes": run.notes}))
        for record in run.run():
            if world.rank != 0:
                continue
            queue.put(("record", record))
            if every and run.step_number % every == 0:
                weights = {name: tensor.cpu().numpy() for name, tensor in run.adaptor.state_dict().items()}
                queue.put(("weights", {"step": run.step_number, "weights": weights}))
    except ExpotionError as error:  # the same on every worker, and the same again after a restart
        if world.rank == 0:
            queue.put(("error", error))


def _build(job: WorkerJob, train: Arrays, validation: Arrays | None, world: ProcessGroup) -> TrainingRun:
    recipe = Recipe.from_dict(job.recipe)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = load_backbone(job.backbone, parts=frozenset({"lm"}))
    lm = backbone.cast(compute_dtype(recipe.train.precision, device)).lm
    if recipe.train.shard_backbone:
        ShardedLayers(lm, world, device)  # hooks itself in; the whole of it never is on the device
    lm.to(device)
    config = AdaptorConfig.from_json(job.adaptor_config)
    adaptor = Adaptor(config, build_projections(recipe, build_encoders(recipe, discover())))
    adaptor.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in job.weights.items()})
    return TrainingRun(
        lm,
        adaptor.to(device),
        from_arrays(train),
        training_settings(recipe),
        validation=None if validation is None else from_arrays(validation),
        keeper=RayKeeper(world.rank),
        trace=job.trace,
        world=world,
    )
