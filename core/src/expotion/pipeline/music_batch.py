"""The same work over clips: in this process, over several, or over Ray; with what is left to do and how long."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from expotion.errors import ExpotionError, Problem
from expotion.pipeline.music_work import Job, Opener, Outcome, Watch, make_clip
from expotion.pipeline.pool import Pool
from expotion.pipeline.targets import Target

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
        first = (str(error).splitlines() or [type(error).__name__])[0]
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
    got = (str(error).strip().splitlines() or [type(error).__name__])[0]
    fix = "it may have run out of memory: use fewer --jobs"
    return Outcome(takes[0].clip, problems=(Problem(str(takes[0].clip), "a process to make it", got, fix),))
