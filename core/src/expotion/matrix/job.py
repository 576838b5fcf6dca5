"""One cell of a matrix as plain data, and how it is run: here, in a process, or on another machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from expotion import machine
from expotion.errors import in_short
from expotion.plugins import Registry, installed_versions
from expotion.recipe import Recipe
from expotion.workers import connect

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from rich.console import Console

    from expotion.plugins import Registry
    from expotion.recipe import Recipe

STOPPED = "stopped"
"""What a cell says that was interrupted: it is neither done nor failed."""


@dataclass(frozen=True)
class Job:
    """A cell: its recipe as plain data, its run folder, captions written before, and where its output goes.

    `threads` bounds the compute threads and worker processes of the cell (None: as many as there are).
    """

    name: str
    recipe: dict[str, Any]
    folder: Path
    captions: Path | None = None
    threads: int | None = None
    log: Path | None = None


def run_cell(
    recipe: Recipe, registry: Registry, folder: Path, captions: Path | None, console: Console
) -> None:
    """Run one cell as an ordinary run, starting from what all cells share."""
    from expotion.run.folder import RunFolder  # noqa: PLC0415
    from expotion.run.run import run_recipe  # noqa: PLC0415 - brings torch

    RunFolder.create(folder, recipe, installed_versions(registry.distributions))
    own = folder / "captions.json"
    if captions is not None and captions.exists() and not own.exists():
        shutil.copyfile(captions, own)
    run_recipe(recipe=recipe, registry=registry, out_dir=folder, resume=None, console=console)


def explain(error: BaseException) -> str:
    """An error in a line, as the command line would show it."""
    from expotion.errors import ExpotionError  # noqa: PLC0415

    if isinstance(error, ExpotionError):
        return "; ".join(str(problem) for problem in error.problems)
    return in_short(error)


def run_job(job: Job, open_registry: Callable[[], Registry] | None = None) -> str | None:
    """Run a cell in this process with plugins opened here; None, or why it failed."""
    if job.threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "EXPOTION_WORKERS"):
            os.environ[name] = str(job.threads)
    from rich.console import Console  # noqa: PLC0415

    from expotion.plugins import discover  # noqa: PLC0415
    from expotion.recipe import Recipe  # noqa: PLC0415

    try:
        if job.log is None:
            run_cell(
                Recipe.from_dict(job.recipe),
                (open_registry or discover)(),
                job.folder,
                job.captions,
                Console(),
            )
            return None
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("a", encoding="utf-8") as file:
            console = Console(file=file, width=120)
            run_cell(
                Recipe.from_dict(job.recipe),
                (open_registry or discover)(),
                job.folder,
                job.captions,
                console,
            )
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:  # the other cells go on
        return explain(error)
    return None


def process_main(job: Job, answer: Connection, open_registry: Callable[[], Registry] | None) -> None:
    """What a process of `--parallel` does: the cell, then one message. A Ctrl-C reaches it through its parent."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_follow_parent, daemon=True).start()
    answer.send(run_job(job, open_registry))
    answer.close()


def _follow_parent() -> None:
    """End like an interrupted run where the parent is gone."""
    from multiprocessing import connection, parent_process  # noqa: PLC0415

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGINT)


# Cells one after another, in several processes, or over Ray; each yields its name and why it failed, if it did.

STOP_S = 30.0
"""How long an interrupted cell may take to write its checkpoint."""
LOCAL_STORE_BYTES = 100_000_000
Outcome = tuple[str, str | None]


def one_by_one(jobs: Sequence[Job], registry: Registry, console: Console) -> Iterator[Outcome]:
    """In this process. An interruption is passed on."""
    for job in jobs:
        try:
            run_cell(Recipe.from_dict(job.recipe), registry, job.folder, job.captions, console)
        except Exception as error:  # the other cells go on
            yield job.name, explain(error)
        else:
            yield job.name, None


def in_processes(
    jobs: Sequence[Job], n_processes: int, open_registry: Callable[[], Registry] | None = None
) -> Iterator[Outcome]:
    """`n_processes` at a time, each a fresh process. One that is killed is a failed cell.

    On an interruption every cell is told once, and has STOP_S seconds to write its checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    left = list(jobs)
    running: dict[Any, tuple[Job, Any, Any]] = {}
    try:
        while left or running:
            while left and len(running) < n_processes:
                job = left.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=process_main, args=(job, theirs, open_registry), name=job.name
                )
                with _share_of_the_cores(n_processes):
                    process.start()
                theirs.close()
                running[process.sentinel] = (job, process, ours)
            for sentinel in connection.wait(list(running)):
                job, process, ours = running.pop(sentinel)
                process.join()
                yield job.name, _answer(ours, process.exitcode)
    finally:
        _stop([process for _, process, _ in running.values()])


@contextlib.contextmanager
def _share_of_the_cores(n_processes: int) -> Iterator[None]:
    """What a process started here inherits: as many threads and workers as leave the others theirs.

    Threads that wait for each other on cores that somebody else uses cost a step many times its own work.
    """
    cores = machine.cores()
    names = ("OMP_NUM_THREADS", "EXPOTION_WORKERS")
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ.setdefault(name, str(max(1, cores // n_processes)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _answer(ours: Any, code: int | None) -> str | None:
    try:
        if ours.poll():
            said: str | None = ours.recv()
            return said
    except EOFError:
        pass
    finally:
        ours.close()
    ended = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    return f"its process ended {ended}; it may have run out of memory"


def _stop(processes: Sequence[Any]) -> None:
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGINT)
    until = time.monotonic() + STOP_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def over_ray(jobs: Sequence[Job], address: str, *, cpus_per_cell: int = 1) -> Iterator[Outcome]:
    """As tasks of a Ray cluster ('local' starts one here). Folders and caches must be shared by all machines.

    A cell whose task dies is failed; one that says it is done and left nothing here says so.
    """
    cpus = machine.cores()
    ray = connect(address, cpus=max(cpus, cpus_per_cell), store_bytes=LOCAL_STORE_BYTES)
    remote = ray.remote(num_cpus=cpus_per_cell, max_retries=0)(run_job)
    waiting: dict[Any, Job] = {}
    try:
        waiting = {remote.remote(job): job for job in jobs}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            job = waiting.pop(done[0])
            try:
                failure = ray.get(done[0])
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines()
                failure = f"the Ray task ended: {lines[-1] if lines else type(error).__name__}"
            if failure is None and not (job.folder / "run.json").exists():
                failure = f"{job.folder} is not shared with the machine that ran it"
            yield job.name, failure
    finally:
        for task in waiting:
            with contextlib.suppress(Exception):
                ray.cancel(task)
        if waiting:
            ray.wait(list(waiting), num_returns=len(waiting), timeout=STOP_S)
        if address == "local":
            ray.shutdown()
