"""Training under Ray Train: `train.workers` processes on one machine or many, the same loop in each."""

from __future__ import annotations

import importlib
import logging
import os
import platform
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion import machine
from expotion.adaptor.adaptor import Adaptor
from expotion.contracts import Objective
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.load import compute_dtype, load_backbone
from expotion.recipe import Recipe
from expotion.recipe.schema import Cluster, Train, Trained
from expotion.train.checkpoints import Keeper
from expotion.train.examples import Examples
from expotion.train.loop import Loop, Record, SteeredMusic
from expotion.train.world import ProcessGroup, World
from expotion.workers import SILENT_S, ask, connected, in_our_words

log = logging.getLogger("expotion")
Message = tuple[str, Any]
POLL_S = 0.5
Arrays = dict[str, NDArray[Any]]
Build = Callable[[Sequence[Arrays], World], Loop]
"""Makes the run on a worker, which pickles can carry there."""


def train_over_ray(
    run: Loop,
    recipe: Trained,
    *,
    build: Build,
    data: Sequence[Arrays] = (),
    on_record: Callable[[Record], None],
    on_weights: Callable[[int], object] | None = None,
) -> None:
    """Bring `run` to its end on workers, which keep their checkpoints where `run.keeper` does.

    `build(data, world)` makes the same run on a worker; `data` lies once on each machine. `on_weights(n_steps)` is
    called every `train.sample_every_steps` steps with the weights of that step in `run.trained`. A worker that dies
    is replaced, all of them go on from the last checkpoint. Raises ExpotionError.
    """
    run.whole = False  # until the workers hand over where they ended
    n_workers, cluster = recipe.n_processes, recipe.cluster
    n_bytes = sum(array.nbytes for arrays in data for array in arrays.values())
    store_bytes = int(1.2 * n_bytes) + 200_000_000
    with connected(cluster.ray, cpus=n_workers + 1, store_bytes=store_bytes, library="ray.train") as ray:
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < n_workers:  # Ray waits for it to grow
            log.warning("the cluster has %d processors now; waiting for %d workers", cpus, n_workers)
        job = WorkerJob(
            build=build,
            n_workers=n_workers,
            cluster=cluster,
            sample_every_steps=recipe.train.sample_every_steps,
            n_threads=max(1, machine.cores() // n_workers) if cluster.ray == "local" else 1,
            choice=machine.choice(),
        )
        with tempfile.TemporaryDirectory(prefix="expotion-ray-", ignore_cleanup_errors=True) as notes:  # Ray's own
            _fit(ray, job, data, notes, _Follower(run, on_record, on_weights))


def _fit(ray: Any, job: WorkerJob, data: Sequence[Arrays], notes: str, follower: _Follower) -> None:
    """Start the workers and pass on what they tell, to the end."""
    from ray.train.torch import TorchTrainer  # noqa: PLC0415
    from ray.util.queue import Queue  # noqa: PLC0415

    library: Any = importlib.import_module("ray.train")  # its types are those of its older interface
    n_workers, cluster = job.n_workers, job.cluster
    ask(ray)  # the queue is waited for without a limit
    queue = Queue(actor_options={"num_cpus": 0})
    fewest = min(cluster.min_workers or n_workers, n_workers)
    trainer = TorchTrainer(
        work,
        train_loop_config={"job": job, "data": [ray.put(part) for part in data], "queue": queue},
        scaling_config=library.ScalingConfig(
            num_workers=n_workers if fewest == n_workers else (fewest, n_workers),
            use_gpu=ray.cluster_resources().get("GPU", 0) >= n_workers,
            resources_per_worker={"CPU": 1},
        ),
        run_config=library.RunConfig(
            name=f"ray-{follower.run.trace[:12] or 'run'}",
            storage_path=notes,
            failure_config=library.FailureConfig(max_failures=cluster.max_failures),
            logging_config=library.LoggingConfig(log_level="ERROR"),
        ),
    )
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["result"] = trainer.fit()
        except Exception as error:  # told to the main thread
            outcome["error"] = error

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    for message in _messages(ray, queue, thread):
        follower.take(message)
    if follower.error is not None:
        raise follower.error
    if "error" in outcome:
        fix = f"go on with --resume; they were replaced {cluster.max_failures} times (cluster.max_failures)"
        died = in_our_words(outcome["error"])
        raise ExpotionError(Problem("train.workers", "workers that stay alive", died, fix)) from outcome["error"]


def _messages(ray: Any, queue: Any, thread: threading.Thread) -> Iterator[Message]:
    """What the workers tell, until the trainer has ended and the queue is empty."""
    from ray.util.queue import Empty  # noqa: PLC0415

    ended, heard_s = False, time.monotonic()
    while True:
        try:
            yield queue.get(timeout=POLL_S)
            heard_s = time.monotonic()
        except Empty:
            if ended:
                return
            ended = not thread.is_alive()
            if time.monotonic() - heard_s > SILENT_S:
                ask(ray)
                heard_s = time.monotonic()


class _Follower:
    """Turns messages into records in order: steps that a restart repeats are not reported twice."""

    def __init__(
        self, run: Loop, on_record: Callable[[Record], None], on_weights: Callable[[int], object] | None
    ) -> None:
        self.run, self.on_record, self.on_weights = run, on_record, on_weights
        self.error: ExpotionError | None = None
        self.reported = -1
        self.starts = 0

    def take(self, message: Message) -> None:
        kind, content = message
        if kind == "worker":
            log.info("worker %(rank)d: process %(pid)d on %(host)s", content)
        elif kind == "start":
            self.starts += 1
            if self.starts > 1:
                for note in content["notes"]:
                    log.warning("%s", note)
                log.warning("workers were lost; training goes on from step %d", content["step"])
        elif kind == "error":
            self.error = content
        elif kind == "end":
            self.run.put_back(*content)
        elif kind == "weights":
            if self.on_weights is not None:
                weights = {name: torch.from_numpy(array) for name, array in content["weights"].items()}
                self.run.trained.load_state_dict(weights)
                self.on_weights(content["step"])
        elif content["step"] > self.reported:
            self.reported = content["step"]
            self.on_record(content)


@dataclass(frozen=True)
class WorkerJob:
    """What every worker is told: how to build the run, who they are, and what `auto` stands for."""

    build: Build
    n_workers: int
    cluster: Cluster
    sample_every_steps: int
    n_threads: int
    choice: machine.Choice


@dataclass(frozen=True)
class BuildSteered:
    """Builds the training of an adaptor on a worker, from its examples and those that validate (or none).

    `backbone` is a name, or a whole path that every worker reaches.
    """

    recipe: Recipe
    backbone: str
    adaptor: Adaptor
    keeper: Keeper | None
    trace: str

    def __call__(self, data: Sequence[Arrays], world: World) -> Loop:
        """The run."""
        settings = self.recipe.train
        device = "cuda" if torch.cuda.is_available() else "cpu"
        lm = (
            load_backbone(self.backbone, parts=frozenset({"lm"})).cast(compute_dtype(settings.precision, device)).lm
        )
        lm.to(device)
        examples, validation = [*map(from_arrays, data), None][:2]
        assert examples is not None
        music = SteeredMusic(lm, self.adaptor.to(device), examples, settings, self.recipe.train_seed, validation)
        return Loop(music, settings, keeper=self.keeper, trace=self.trace, world=world)


@dataclass(frozen=True)
class BuildObjective:
    """Builds the training of an objective that travels to the worker by itself."""

    objective: Objective
    settings: Train
    keeper: Keeper | None
    trace: str

    def __call__(self, data: Sequence[Arrays], world: World) -> Loop:
        """The run."""
        return Loop(self.objective, self.settings, keeper=self.keeper, trace=self.trace, world=world)


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


def work(config: dict[str, Any]) -> None:
    """Ray Train's loop on one worker. What is to be seen goes into the queue as (kind, content)."""
    import ray  # noqa: PLC0415

    job: WorkerJob = config["job"]
    queue = config["queue"]
    every = job.sample_every_steps
    torch.set_num_threads(job.n_threads)
    world = ProcessGroup()
    queue.put(("worker", {"rank": world.rank, "host": platform.node(), "pid": os.getpid()}))
    try:
        machine.adopt(job.choice, handed=True)
    except ExpotionError as error:  # of this host alone
        queue.put(("error", error))
        raise
    try:
        run = job.build([ray.get(part) for part in config["data"]], world)
        run.resume()
        _agree(run)
        if world.rank == 0:
            queue.put(("start", {"step": run.step_number, "notes": run.notes}))
        for record in run.run():
            if world.rank != 0:
                continue
            queue.put(("record", record))
            if every and run.step_number % every == 0:
                weights = {name: tensor.cpu().numpy() for name, tensor in run.trained.state_dict().items()}
                queue.put(("weights", {"step": run.step_number, "weights": weights}))
        if world.rank == 0:
            tensors, state = run.state()
            queue.put(("end", (tensors, {"step": run.step_number, **state})))
    except ExpotionError as error:  # the same on every worker, and the same again after a restart
        if world.rank == 0:
            queue.put(("error", error))


def _agree(run: Loop) -> None:
    """Raise ExpotionError where not every worker has found the same checkpoint."""
    steps = next(run.trained.parameters()).new_tensor([float(run.step_number)])
    run.world.sum_([steps])
    if float(steps) != run.world.size * run.step_number:
        wanted, got = "a place for checkpoints that every machine reaches", "one that some do not"
        fix = "name a folder or URL that all of them reach, as s3://bucket/runs"
        raise ExpotionError(Problem("cluster.storage", wanted, got, fix))
