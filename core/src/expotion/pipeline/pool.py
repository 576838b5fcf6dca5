"""The same work on many items in several processes, each with its own models and one compute thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
State = TypeVar("State")

_state: Any = None


def n_workers(n_items: int, *, items_per_worker: int = 1) -> int:
    """Processes worth starting: one per usable core, none that would get fewer than `items_per_worker` items.

    The environment variable EXPOTION_WORKERS sets another upper bound.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("EXPOTION_WORKERS", "")
    most = int(asked) if asked.isdigit() and int(asked) > 0 else cores
    return max(1, min(most, n_items // items_per_worker))


def _start(prepare: Callable[[], Any]) -> None:
    import torch  # noqa: PLC0415 - runs in the worker

    global _state  # noqa: PLW0603 - one per worker process, set once
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    torch.set_num_threads(1)
    _state = prepare()


def _work(function: Callable[[Any, Any], Any], item: Any) -> Any:
    return function(_state, item)


class Pool(Generic[State, Item, Result]):
    """Maps `function(state, item)` over items; `prepare()` makes the state once per process.

    Both must be importable functions or picklable callables: workers are started afresh (spawn), since a
    process that has used threads cannot be forked safely. With one worker everything runs here.
    """

    def __init__(
        self, prepare: Callable[[], State], function: Callable[[State, Item], Result], workers: int
    ) -> None:
        self.prepare, self.function, self.workers = prepare, function, workers

    def run(self, items: Sequence[Item]) -> Iterator[tuple[int, Result | Exception]]:
        """(index, result or the exception that it raised) in the order in which they finish.

        An interruption ends the workers at once and is passed on.
        """
        if self.workers <= 1:
            state = self.prepare()
            for index, item in enumerate(items):
                try:
                    result: Result | Exception = self.function(state, item)
                except Exception as error:
                    result = error
                yield index, result
            return
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=(self.prepare,))
        try:
            pending: dict[Future[Any], int] = {
                executor.submit(_work, self.function, item): index for index, item in enumerate(items)
            }
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    index = pending.pop(future)
                    failure = future.exception()
                    if failure is None:
                        yield index, future.result()
                    elif isinstance(failure, Exception):
                        yield index, failure
                    else:
                        raise failure
        except BaseException:
            for process in list(getattr(executor, "_processes", {}).values()):
                process.terminate()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()
