"""The same work on many items in several processes, each with its own models and one compute thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, Generic, TypeVar

from expotion.errors import ExpotionError, Problem

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


# Ray: started here or joined where somebody runs it, with a clear word where nothing answers.

CONNECT_S = 10.0
JOIN_S = 60.0
"""How long joining a cluster may take once its port has answered."""


def connect(address: str, *, cpus: int, store_bytes: int) -> Any:
    """The module `ray`, connected. `address` is 'local' (starts one here), 'auto', HOST:PORT or ray://HOST:PORT.

    `cpus` and `store_bytes` (shared memory) size a Ray that is started here. Raises ExpotionError where Ray is not
    installed or nothing answers in time.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # the workers run this environment as it is
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    try:
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
        import ray.train  # noqa: PLC0415
    except ImportError as error:
        fix = "pip install 'expotion[ray]'"
        raise ExpotionError(
            Problem("--ray", "Ray with its data and train libraries", str(error), fix)
        ) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    if address == "local":
        ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=store_bytes, **quiet)
        return ray
    where = f"--ray {address}"
    fix = "give HOST:PORT of a running cluster (`ray start --head` prints it), or local"
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=CONNECT_S):
                pass
        except (OSError, ValueError, OverflowError) as error:
            raise ExpotionError(Problem(where, "a Ray cluster that answers", str(error), fix)) from error
    failure = _join(ray, address, quiet)
    if failure is not None:
        raise ExpotionError(Problem(where, "a Ray cluster that answers", failure, fix))
    return ray


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> str | None:
    """Join a cluster; None, or what went wrong. Something that is no Ray may hold the port and never answer."""
    failures: list[str] = []

    def join() -> None:
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # whatever a foreign service makes of it
            failures.append((str(error).strip() or type(error).__name__).splitlines()[0])

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_S)
    if thread.is_alive():
        return f"nothing in {JOIN_S:.0f} s"
    return failures[0] if failures else None
