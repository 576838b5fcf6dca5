"""Clips over fresh processes with one compute thread each; a process that dies takes only its clip with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from expotion.contracts import Clip, Encoder
from expotion.features.one_clip import ClipResult, Failure, extract_all
from expotion.features.store import FeatureStore

Item = TypeVar("Item")
Result = TypeVar("Result")

Factory = Callable[[], Mapping[str, Encoder]]
"""Builds encoders by name, in another process if need be."""

_worker: dict[str, Mapping[str, Encoder]] = {}

_DEATHS_IN_A_ROW = 3
"""After as many clips in a row have each killed a fresh process, the rest is given up."""


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means


def one_thread() -> None:
    """Let the libraries that are loaded in this process compute with one thread."""
    torch = sys.modules.get("torch")  # not imported for encoders that do without
    if torch is not None:
        torch.set_num_threads(1)
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(1)


def _work(factory: Factory, work: Callable[[Mapping[str, Encoder], Item], Result], item: Item) -> Result:
    if "encoders" not in _worker:
        _worker["encoders"] = factory()
        one_thread()
    return work(_worker["encoders"], item)


def _extract(store: FeatureStore | None, encoders: Mapping[str, Encoder], clip: Clip) -> ClipResult:
    return extract_all(encoders, clip, store)


def in_processes(
    clips: Sequence[Clip], store: FeatureStore | None, workers: int, factory: Factory
) -> Iterator[tuple[Clip, ClipResult]]:
    """Results in the order in which they come. Clips lost with a process that died are tried again alone."""
    return map_in_processes(clips, partial(_extract, store), _failed, workers, factory)


def map_in_processes(
    items: Sequence[Item],
    work: Callable[[Mapping[str, Encoder], Item], Result],
    failed: Callable[[Item, str], Result],
    workers: int,
    factory: Factory,
) -> Iterator[tuple[Item, Result]]:
    """`work(encoders, item)` of every item, in the order in which they come; all three must pickle.

    Items lost with a process that died are tried again alone; `failed(item, reason)` stands for what did not come.
    An interruption ends the processes at once: what they write appears whole or not at all.
    """
    lost: list[Item] = []
    with _pool(min(workers, max(1, len(items)))) as pool:
        waiting: dict[Future[Result], Item] = {}
        for item in items:
            try:
                waiting[pool.submit(_work, factory, work, item)] = item
            except BrokenProcessPool:
                lost.append(item)
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except BrokenProcessPool:
                lost.append(waiting[future])
            except Exception as error:  # encoders that cannot be built, a clip that does not pickle
                yield waiting[future], failed(waiting[future], f"{type(error).__name__}: {error}")
    deaths = 0
    while lost and deaths < _DEATHS_IN_A_ROW:
        with _pool(1) as pool:
            while lost:
                item = lost.pop(0)
                try:
                    result = pool.submit(_work, factory, work, item).result()
                except BrokenProcessPool:
                    deaths += 1
                    yield item, failed(item, "the process died; it may have run out of memory")
                    break
                except Exception as error:
                    result = failed(item, f"{type(error).__name__}: {error}")
                deaths = 0
                yield item, result
    for item in lost:
        yield item, failed(item, f"not tried: {_DEATHS_IN_A_ROW} processes in a row have died")


def _failed(clip: Clip, text: str) -> ClipResult:
    return {}, [Failure(clip.id, "all encoders", text)], []


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes: a forked one would inherit the locks of the arithmetic libraries' threads."""
    context = multiprocessing.get_context("spawn")
    with _one_thread():
        pool = ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts)
        try:
            yield pool
        except BaseException:
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started inside use one thread each for their arithmetic."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
