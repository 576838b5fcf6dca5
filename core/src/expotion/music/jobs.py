"""The work on one clip in one process: compose every take, write its files, and say how it went."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from expotion.errors import ExpotionError, MediaError, Problem, first_line, in_short
from expotion.music.checks import format_problems
from expotion.music.composer import Composer, open_composer
from expotion.music.files import asked_for, write_files
from expotion.music.out_of_memory import memory_problem
from expotion.music.steering import Composing, Output
from expotion.music.targets import Target
from expotion.video.clip import FileClip
from expotion.workers import Pool

Progress = Callable[[int, int], None]
Watch = Callable[[Path], AbstractContextManager[Progress]]
"""Gives the progress function for a clip, shown while the block runs."""


@dataclass(frozen=True)
class Job:
    """What is the same for every clip. `adaptor` holds adaptor.json; `threads` 0 leaves torch's own number."""

    composing: Composing
    output: Output
    adaptor: Path
    threads: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a clip. `fault` is the traceback of an error that is nobody's but the program's."""

    clip: Path
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    fault: str | None = None


@dataclass
class Maker:
    """A process's composer and what it is to do."""

    job: Job
    composer: Composer
    threads: int


@dataclass(frozen=True)
class Opener:
    """Makes a process's `Maker`: a picklable function without arguments."""

    job: Job

    def __call__(self) -> Maker:
        """Load adaptor, backbone and encoders with the registry of this process."""
        import torch  # noqa: PLC0415 - the parent of many processes needs none

        from expotion import plugins  # noqa: PLC0415

        if multiprocessing.parent_process() is not None:
            signal.signal(signal.SIGTERM, _leave)
        if self.job.threads:
            torch.set_num_threads(self.job.threads)
        composer = open_composer(self.job.adaptor, plugins.discover(), self.job.composing.backbone)
        return Maker(self.job, composer, torch.get_num_threads())


def _leave(number: int, frame: FrameType | None) -> None:
    """End a worker the ordinary way, so that drafts of files are removed."""
    sys.exit(128 + number)


@contextlib.contextmanager
def unwatched(clip: Path) -> Iterator[Progress]:
    """Progress that nobody looks at."""
    del clip
    yield lambda done, total: None


def make_clip(maker: Maker, targets: tuple[Target, ...], watch: Watch = unwatched) -> Outcome:
    """Every take of one clip. Raises nothing: what goes wrong is in the outcome, and finished takes stay."""
    import traceback  # noqa: PLC0415

    started = time.monotonic()
    path = targets[0].clip
    files: list[Path] = []
    warnings: list[str] = []
    problems: list[Problem] = []
    fault = None
    try:
        with contextlib.closing(FileClip(path)) as clip:
            wrong = format_problems(clip.scanned, maker.job.output.formats)
            if wrong:
                raise MediaError(wrong)
            for target in targets:
                files += _make(maker, clip, target, watch, warnings)
    except ExpotionError as error:
        problems = error.problems
    except Exception as error:  # whatever is wrong with one clip, the others are made
        short = memory_problem(str(path), error)
        problems = [short or Problem(str(path), "music", in_short(error))]
        fault = None if short is not None else traceback.format_exc()
    seconds = time.monotonic() - started
    return Outcome(path, tuple(files), tuple(dict.fromkeys(warnings)), tuple(problems), seconds, fault)


def _make(maker: Maker, clip: FileClip, target: Target, watch: Watch, warnings: list[str]) -> list[Path]:
    job = maker.job
    asked = asked_for(job.composing, job.output, target, job.adaptor, maker.threads)
    with watch(target.base) as progress:
        music = maker.composer.compose(
            clip,
            **job.composing.keywords(),
            seed=target.seed,
            on_progress=progress,
            on_warning=warnings.append,
        )
    notes: dict[str, Any] = dict(music.notes)
    return write_files(
        target,
        music.samples,
        music.sample_rate_hz,
        clip.duration_s,
        job.output,
        asked,
        notes,
        warnings.append,
    )


# The same work over clips: in this process, over several, or over Ray; with what is left to do and how long.

Takes = tuple[Target, ...]


def group(targets: Sequence[Target]) -> list[Takes]:
    """Takes of one clip together: a clip is opened once."""
    by_base: dict[tuple[object, ...], list[Target]] = {}
    for target in targets:
        by_base.setdefault((target.clip, target.base.parent), []).append(target)
    return [tuple(takes) for takes in by_base.values()]


def run_here(job: Job, items: Sequence[Takes], watch: Watch) -> Iterator[Outcome]:
    """One clip after the other in this process."""
    maker = Opener(job)()
    for takes in items:
        yield make_clip(maker, takes, watch)


def run_processes(job: Job, items: Sequence[Takes], workers: int) -> Iterator[Outcome]:
    """Over fresh processes, in the order in which clips finish. Raises what opening the models raises."""
    pool = Pool(Opener(job), make_clip, workers)
    for index, result in pool.run(items):
        if isinstance(result, Outcome):
            yield result
        elif isinstance(result, ExpotionError):
            yield Outcome(items[index][0].clip, problems=tuple(result.problems))
        else:
            yield _lost(items[index], result)


def run_ray(job: Job, items: Sequence[Takes], address: str) -> Iterator[Outcome]:
    """Over a Ray cluster, one actor per processor; `address` is `local`, `auto` or that of a head.

    Every node must see the same paths and have the same plugins. An actor that dies is replaced; its clip has
    failed. Raises ExpotionError where Ray is not installed or cannot be reached.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        ray: Any = importlib.import_module("ray")  # an optional extra
    except ImportError:
        fix = 'install "expotion[ray]", or use --jobs'
        raise ExpotionError(Problem("--ray", "Ray", "no such package", fix)) from None
    try:
        ray.init(
            address=None if address == "local" else address, log_to_driver=False, logging_level=logging.ERROR
        )
    except Exception as error:  # Ray raises many kinds; all mean that there is no cluster there
        first = first_line(error)
        raise ExpotionError(
            Problem(f"--ray {address}", "a Ray cluster", first, "use --ray local, or start one")
        ) from error
    try:
        n_actors = max(1, min(len(items), int(ray.cluster_resources().get("CPU", 1))))
        yield from _over_actors(ray, job, items, n_actors)
    finally:
        ray.shutdown()


def _over_actors(ray: Any, job: Job, items: Sequence[Takes], n_actors: int) -> Iterator[Outcome]:
    start = functools.partial(ray.remote(num_cpus=1)(_Actor).remote, job)
    waiting = list(reversed(items))
    running: dict[Any, tuple[Any, Takes]] = {}

    def give(actor: Any) -> None:
        if waiting:
            takes = waiting.pop()
            running[actor.make.remote(takes)] = (actor, takes)

    for _ in range(n_actors):
        give(start())
    while running:
        done, _ = ray.wait(list(running), num_returns=1)
        actor, takes = running.pop(done[0])
        try:
            outcome = ray.get(done[0])
        except ray.exceptions.RayActorError as error:
            outcome, actor = _lost(takes, error), start()
        except ray.exceptions.RayTaskError as error:
            outcome = _lost(takes, error)
        give(actor)
        yield outcome


class _Actor:
    """A process of a Ray cluster with its models."""

    def __init__(self, job: Job) -> None:
        self._opener, self._maker = Opener(job), None

    def make(self, takes: Takes) -> Outcome:
        """One clip; models are loaded with the first."""
        try:
            maker = self._maker = self._maker or self._opener()  # type: ignore[assignment]
        except ExpotionError as error:
            return Outcome(takes[0].clip, problems=tuple(error.problems))
        return make_clip(maker, takes)


def _lost(takes: Takes, error: Exception) -> Outcome:
    """A clip whose process died or could not start."""
    got = first_line(error)
    fix = "it may have run out of memory: use fewer --jobs"
    return Outcome(takes[0].clip, problems=(Problem(str(takes[0].clip), "a process to make it", got, fix),))
