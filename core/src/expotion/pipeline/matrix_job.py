"""One cell of a matrix as plain data, and how it is run: here, in a process, or on another machine."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from expotion.pipeline.run import run_recipe  # noqa: PLC0415 - brings torch
    from expotion.pipeline.run_folder import RunFolder, installed_versions  # noqa: PLC0415

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
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


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
