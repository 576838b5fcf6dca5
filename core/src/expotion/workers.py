"""Work over items: here, in processes, or over Ray. The one place that starts processes and Ray.

    for index, result in spread(work, items, build=open_models, workers=n_workers(len(items))):
        ...

Pairs come as they finish; `index` says which item they belong to. A result that is an exception is that item's
failure: `work` raised it (or a SystemExit), or the process died (`WorkerDiedError`). The other items go on.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from pathlib import Path
from typing import Any, TypeVar

from expotion import machine
from expotion.errors import FAULTS, ExpotionError, Problem, first_line, in_short, last_line
from expotion.files import can_write

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[..., Result]
Build = Callable[[], Any] | None

DEATHS_IN_A_ROW = 3
"""After as many deaths with no result between them the rest is given up: it is not the items that kill."""
CONNECT_S = 10.0
JOIN_S = 60.0
"""How long joining a cluster may take once its port has answered."""
SILENT_S = 60.0
"""After so long without a result Ray is asked whether it still gives a task a worker."""
ANSWER_S = 120.0
"""How long that may take: a worker is started for it, on a machine that may be busy."""
_PATIENCE = (("RAY_agent_register_timeout_ms", "180000"), ("RAY_worker_register_timeout_seconds", "180"))
"""How long Ray waits for its processes; by default 30 and 60 s, which their imports take on a busy machine."""
_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""What Ray adds to a folder for its longest path of a socket; a system takes 103 (macOS) or 107 bytes in all."""
_WITHOUT = "work without Ray: no --ray, and train.workers 0"
_DEATHS = {
    "OutOfMemoryError": "ended by Ray, since the machine ran out of memory",
    "NodeDiedError": "its machine has left the cluster",
    "LocalRayletDiedError": "Ray itself has ended",
    "WorkerCrashedError": "killed, or ended by a fault",
    "ActorDiedError": "killed, or ended by a fault",
    "worker process has died": "killed, or ended by a fault",
    "ObjectStoreFullError": "the shared memory of Ray is full",
    "OutOfDiskError": "the disk of Ray is full",
    "GetTimeoutError": f"no worker for a task that needs no processor in {ANSWER_S:.0f} s",
}
"""Ray's kinds of failures, or what it says where it names no kind, in our words."""


class WorkerDiedError(ExpotionError):
    """The process of an item ended before the item was done, or no process was left to try it."""


def n_workers(n_items: int, *, items_per_worker: int = 1) -> int:
    """Processes worth starting: one per usable core, of several none with fewer than `items_per_worker` items.

    Several are always worth one: what ends its process, as a decoder may on a damaged file, then takes no other
    item along. The environment variable EXPOTION_WORKERS sets another upper bound; 1 means none (0): all here.
    """
    asked = os.environ.get("EXPOTION_WORKERS", "")
    most = int(asked) if asked.isdigit() and int(asked) > 0 else machine.cores()
    if asked == "1" or n_items < 2:
        return 0
    return max(1, min(most, n_items // items_per_worker))


def set_threads(n_threads: int) -> None:
    """Let the libraries that this process has loaded, or will load, compute with `n_threads` threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(n_threads)
    for library, setter in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if library in sys.modules:  # neither is imported for work that does without
            getattr(sys.modules[library], setter)(n_threads)


def spread(
    work: Work[Result],
    items: Sequence[Item],
    *,
    build: Build = None,
    workers: int = 0,
    threads: int = 1,
    ray: str | None = None,
    fresh: bool = False,
    tries: int = 1,
    grace_s: float = 5.0,
) -> Iterator[tuple[int, Result | Exception]]:
    """Yield (index, result or the exception that it became) of every item, as they finish.

    `build()` is called once per worker, and each item becomes `work(built, item)`; without it, `work(item)`.
    With `ray` ('local', 'auto', HOST:PORT or ray://HOST:PORT) items run on a cluster, `workers` at a time (0: as
    many as it has processors for); else in `workers` processes; with 0 here, with threads as they are, where a
    death by a signal takes everything along. A worker elsewhere computes with `threads` threads; what goes there
    and comes back must pickle.

    `fresh` gives every item a process of its own. An item whose process dies is tried `tries` times in all. An
    interruption, an error in the loop or closing the iterator raises KeyboardInterrupt in the workers, and ends
    those that are still there after `grace_s`; they also end when this process is gone. What `auto` stands for was
    decided here (`machine.choice`) and holds in every worker. Raises what `build` raises, and ExpotionError where
    Ray is missing or does not answer, or where what was decided is wrong on a worker's host.
    """
    if not items:
        return
    if ray is None and workers == 0:
        run = _prepared(build, work)
        for index, item in enumerate(items):
            try:
                result: Any = run(item)
            except FAULTS as error:
                result = _failure(error)
            yield index, result
        return
    job = pickle.dumps((machine.choice(), build, work))
    most_deaths = DEATHS_IN_A_ROW if not fresh else len(items) * tries + 1
    with contextlib.ExitStack() as closing:
        crew: _Processes | _Tasks
        if ray is None:
            crew = _Processes(job, threads, fresh, grace_s)
        else:
            module = closing.enter_context(connected(ray, cpus=(workers or machine.cores()) * threads))
            workers = workers or max(1, int(module.cluster_resources().get("CPU", 1)) // threads)
            crew = _Tasks(module, job, threads, fresh, grace_s)
        closing.callback(crew.stop)
        yield from _hand_out(crew, items, workers, tries, most_deaths)


def _hand_out(
    crew: _Processes | _Tasks, items: Sequence[Any], workers: int, tries: int, most_deaths: int
) -> Iterator[tuple[int, Any]]:
    waiting, given = deque(range(len(items))), 0
    deaths, in_a_row = Counter[int](), 0
    while waiting or given:
        if waiting and given < workers:
            index = waiting.popleft()
            try:
                data = pickle.dumps(items[index])
            except Exception as error:  # pickle raises many kinds
                yield index, error
            else:
                crew.give(index, data)
                given += 1
            continue
        index, answer = crew.wait()
        given -= 1
        if isinstance(answer, WorkerDiedError):
            in_a_row += 1
            deaths[index] += 1
            if deaths[index] < tries:
                waiting.append(index)
            else:
                yield index, answer
            while waiting and in_a_row >= most_deaths:
                many = Problem("not tried", f"{in_a_row} processes in a row have died")
                yield waiting.popleft(), WorkerDiedError(many)
            continue
        in_a_row = 0
        try:
            built, result = pickle.loads(answer)
        except Exception as error:
            built, result = True, error
        if not built:
            raise result
        yield index, result


def _prepared(build: Build, work: Work[Result]) -> Work[Result]:
    """A function of an item."""
    return work if build is None else functools.partial(work, build())


class _Worker:
    """What works in another process: bytes in, bytes out, so that nothing is lost on the way."""

    def __init__(self, job: bytes, threads: int) -> None:
        set_threads(threads)
        os.environ.setdefault("EXPOTION_WORKERS", str(threads))
        self._job, self._threads = job, threads
        self._run: Work[Any] | None = None

    def __call__(self, item: bytes) -> bytes:
        """(whether `build` has worked, the result or the exception) of an item."""
        try:
            if self._run is None:
                choice, build, work = pickle.loads(self._job)
                machine.adopt(choice, handed=True)
                self._run = _prepared(build, work)
                set_threads(self._threads)  # of the libraries that came with it
            return pickle.dumps((True, self._run(pickle.loads(item))))
        except FAULTS as fault:
            error = _failure(fault)
            error.add_note(traceback.format_exc())
            try:
                answer = pickle.dumps((self._run is not None, error))
                pickle.loads(answer)
            except Exception:  # an exception that does not survive
                answer = pickle.dumps((self._run is not None, RuntimeError(in_short(error))))
            return answer


def _failure(error: BaseException) -> Exception:
    """What becomes of an item whose work ended so."""
    return error if isinstance(error, Exception) else RuntimeError(f"it ended with {in_short(error)}")


def _died(how: str) -> WorkerDiedError:
    return WorkerDiedError(Problem(f"the process died ({how})", "it may have run out of memory"))


# Processes. Each has a pipe of its own, so that the item of one that dies is known and no other is lost with it.


class _Processes:
    def __init__(self, job: bytes, threads: int, fresh: bool, grace_s: float) -> None:
        self._arguments, self._fresh, self._grace_s = (job, threads, grace_s), fresh, grace_s
        self._context = multiprocessing.get_context("spawn")  # forked ones inherit the locks of threads
        self._free: list[tuple[Any, Any]] = []
        self._busy: dict[Any, tuple[Any, int]] = {}
        atexit.register(self.stop)  # a kept traceback may hold the loop, and Python waits for processes at its end

    def give(self, index: int, item: bytes) -> None:
        """Let a free process do an item."""
        process, pipe = self._free.pop() if self._free else (None, None)
        if process is None or not process.is_alive():
            pipe, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, *self._arguments))
            process.start()
            theirs.close()
        self._busy[pipe] = (process, index)
        with contextlib.suppress(ConnectionError):  # it has died: `wait` says so
            pipe.send_bytes(item)  # type: ignore[union-attr]

    def wait(self) -> tuple[int, bytes | WorkerDiedError]:
        """The next that is done: its index, and the answer."""
        ready: list[Any] = []
        while not ready:  # a Ctrl-C just before the system call is not seen within it
            ready = connection.wait(list(self._busy), timeout=1.0)
        pipe = ready[0]
        process, index = self._busy.pop(pipe)
        try:
            answer: bytes | WorkerDiedError = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            process.join()
            code = process.exitcode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            answer = _died(how)
        self._free.append((process, pipe))
        if self._fresh or isinstance(answer, WorkerDiedError):
            self._free.pop()
            pipe.close()
            process.join()
        return index, answer

    def stop(self) -> None:
        """Idle processes end with their pipes; busy ones are interrupted and, after the grace, killed."""
        atexit.unregister(self.stop)
        processes = [process for process, _ in (*self._free, *self._busy.values())]
        for process, _ in self._busy.values():
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGINT)
        for pipe in (*self._busy, *(pipe for _, pipe in self._free)):
            pipe.close()
        until = time.monotonic() + self._grace_s
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._busy, self._free = {}, []


def _serve(pipe: Any, job: bytes, threads: int, grace_s: float) -> None:
    """What a process does: answer every item until the pipe closes or it is interrupted."""
    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C reaches it through its parent only
    for number in (signal.SIGINT, signal.SIGTERM):  # both let the work clean up behind itself
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=_follow_parent, args=(grace_s,), daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        worker = _Worker(job, threads)
        while True:
            pipe.send_bytes(worker(pipe.recv_bytes()))


def _follow_parent(grace_s: float) -> None:
    """End like an interrupted process where the parent is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(grace_s)
    os._exit(1)


# Ray: tasks, since a task, unlike an actor's method, can be interrupted; what a worker built stays in its process.

_workers: dict[str, _Worker] = {}


def _task(job: Sequence[Any], token: str, threads: int, item: bytes) -> bytes:
    import ray  # noqa: PLC0415 - runs in the worker

    if token not in _workers:
        _workers[token] = _Worker(ray.get(job[0]), threads)
    return _workers[token](item)


class _Tasks:
    def __init__(self, ray: Any, job: bytes, threads: int, fresh: bool, grace_s: float) -> None:
        self._ray, self._grace_s = ray, grace_s
        options: dict[str, Any] = {"max_calls": 1} if fresh else {}
        self._remote = ray.remote(num_cpus=threads, max_retries=0, **options)(_task)
        # In a list the reference travels as it is, and is fetched once per worker.
        self._arguments = ([ray.put(job)], uuid.uuid4().hex, threads)
        self._busy: dict[Any, int] = {}

    def give(self, index: int, item: bytes) -> None:
        """Let the cluster do an item."""
        self._busy[self._remote.remote(*self._arguments, item)] = index

    def wait(self) -> tuple[int, bytes | WorkerDiedError]:
        """The next that is done: its index, and the answer. Raises Ray's error where it gives no task a worker."""
        while not (done := self._ray.wait(list(self._busy), num_returns=1, timeout=SILENT_S)[0]):
            ask(self._ray)
        (task,) = done
        index = self._busy.pop(task)
        try:
            return index, self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return index, _died(in_our_words(error))

    def stop(self) -> None:
        """Interrupt what is being done, and wait for it for the grace."""
        for task in self._busy:
            with contextlib.suppress(Exception):
                self._ray.cancel(task)
        if self._busy:
            self._ray.wait(list(self._busy), num_returns=len(self._busy), timeout=self._grace_s)
        self._busy = {}


def ask(ray: Any) -> None:
    """Raise Ray's error where it gives a task no worker any more: everything would wait for ever."""
    ray.get(ray.remote(num_cpus=0, max_retries=0)(_here).remote(), timeout=ANSWER_S)


def _here() -> None:
    """What a worker does to show that there is one."""


@contextlib.contextmanager
def connected(address: str, *, cpus: int, store_bytes: int = 100_000_000, library: str = "ray") -> Iterator[Any]:
    """The module `ray`, connected. `address` is 'local' (starts one here), 'auto', HOST:PORT or ray://HOST:PORT.

    `cpus` and `store_bytes` (shared memory) size a Ray that is started here; `library` is what of Ray will be
    used. Raises ExpotionError where that is not installed, nothing answers in time, or Ray itself fails later.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # the workers run this environment as it is
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    for patience in _PATIENCE:
        os.environ.setdefault(*patience)
    _knock(address)
    sockets = _socket_folder() if address == "local" else None
    try:
        ray: Any = importlib.import_module("ray")
        importlib.import_module(library)
        if os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0":  # read once, by whoever imported Ray first
            constants: Any = importlib.import_module("ray._private.ray_constants")
            constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    except ImportError as error:
        fix = "pip install 'expotion[ray]', or work without --ray"
        raise ExpotionError(Problem("--ray", "Ray with its libraries", str(error), fix)) from error
    ours = not ray.is_initialized()
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "ignore_reinit_error": True}
    if address == "local":
        local: dict[str, Any] = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": store_bytes}
        local["_temp_dir"] = sockets
        try:
            ray.init(address, **local, **quiet)
        except Exception:  # of many kinds: it gives itself half a minute, which a busy machine may exceed once
            try:
                ray.init(address, **local, **quiet)
            except Exception as error:
                raise _failed(address, "a Ray that starts here", first_line(error)) from error
    else:
        _join(ray, address, quiet)
    with _unheard() if ours else contextlib.nullcontext():
        try:
            yield ray
        except ray.exceptions.RayError as error:
            raise _failed(address, "a Ray that works to the end", in_our_words(error)) from error
        finally:
            if ours:
                ray.shutdown()  # until then it may still say something


_CLUSTER = "a Ray cluster that answers"
_ADDRESS = "give HOST:PORT of a running cluster (`ray start --head` prints it), or local"


def _failed(address: str, wanted: str, got: str, fix: str = _WITHOUT) -> ExpotionError:
    return ExpotionError(Problem(f"--ray {address}", wanted, got, fix))


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep quiet what Ray prints on standard output of every worker that dies: we say it ourselves, in a line."""
    try:
        printing: Any = importlib.import_module("ray._private.worker")
        before = printing.print_to_stdstream
    except (ImportError, AttributeError):  # another version of Ray: then it is heard
        yield
        return
    printing.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        printing.print_to_stdstream = before


def in_our_words(error: BaseException) -> str:
    """What happened in Ray, in a few words: its own are paragraphs about its logs."""
    told = " ".join([*(kind.__name__ for kind in type(error).__mro__), str(error)])
    return next((words for kind, words in _DEATHS.items() if kind in told), last_line(error))


def _socket_folder() -> str | None:
    """A folder for Ray's sockets, whose paths must be short; None where its own choice will do."""
    longest = (103 if sys.platform == "darwin" else 107) - len(_SOCKET)
    own = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR" if sys.platform == "linux" else "", "/tmp")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "/dev/shm")
    for folder in (f"{own}/ray", "/tmp/ray", "/var/tmp/ray", f"{runtime}/ray"):
        if sys.platform == "win32" or (len(os.fsencode(folder)) <= longest and can_write(Path(folder))):
            return None if folder == f"{own}/ray" else folder
    got, fix = f"{own}/ray and others", "set RAY_TMPDIR to a short one that can be written to"
    raise ExpotionError(Problem("--ray local", f"a folder of at most {longest} characters", got, fix))


def _knock(address: str) -> None:
    """Raise ExpotionError where nothing listens at a cluster's address. Importing Ray first would take seconds."""
    if address in {"local", "auto"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _failed(address, _CLUSTER, first_line(error), _ADDRESS) from error


def _join(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    """Join a cluster. Something that is no Ray may hold the port and never answer."""
    failures: list[str] = []

    def join() -> None:
        try:
            ray.init(address=address, **quiet)
        except Exception as error:  # whatever a foreign service makes of it
            failures.append(first_line(error))

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(JOIN_S)
    if thread.is_alive():
        failures.append(f"nothing in {JOIN_S:.0f} s")
    if failures:
        raise _failed(address, _CLUSTER, failures[0], _ADDRESS)
