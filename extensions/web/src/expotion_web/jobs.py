"""Long work in a process of its own, one at a time: kept in a folder, so that it survives a reload and a restart.

A job is a function of plain values, named `module:function`, that tells how far it is and gives plain values back.
It must be able to begin anew, or to go on, when its process was killed: that is what a restart does with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from expotion.errors import ExpotionError, Problem
from expotion.files import write_json

log = logging.getLogger("expotion")
State = Literal["waiting", "running", "stopping", "done", "failed", "stopped"]
ENDED = ("done", "failed", "stopped")
MAX_STARTS = 3
"""A job whose process has died with the server this often is not tried again."""
PATIENCE_S = 30.0
"""How long a job that is stopped may take to leave things in order."""
LINES_MAX = 200
AGE_S = 0.2


class Shown(BaseModel):
    """Work as a page sees it: `done` of `total` steps of a `stage`, `lines` that it has said.

    `about` is whose it is, by a name that the page knows.
    """

    model_config = ConfigDict(extra="ignore")

    id: str
    kind: str
    title: str
    about: str = ""
    state: State = "waiting"
    suspended: bool = False
    starts: int = 0
    number: int = 0
    stage: str = ""
    done: int = 0
    total: int = 0
    left_s: float | None = None
    seconds: float = 0.0
    lines: list[str] = []
    problems: list[str] = []
    result: dict[str, Any] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def stopping(self) -> bool:
        """Whether it has been asked to stop."""
        return self.state == "stopping"


class Job(Shown):
    """Work with what it is given, which may hold paths that no page needs to know."""

    given: dict[str, Any]

    def shown(self) -> Shown:
        """What a page may see."""
        return Shown.model_validate(self.model_dump(exclude={"given"}))


class Jobs:
    """All jobs of a folder. `kinds` names the function of each kind.

    Use as a context manager: within it jobs run, one after the other; at its end the running one is put back.
    """

    def __init__(self, folder: Path, kinds: Mapping[str, str]) -> None:
        self.folder, self.kinds = folder, dict(kinds)
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._holders = 0
        self._told_s, self._texts = -AGE_S, dict[str, str]()
        self._closing = False
        self.told = True
        """Whether changes are still told; a server that stops hangs up first."""
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        for path in sorted(folder.glob("*/job.json")):
            with contextlib.suppress(OSError, ValidationError):
                job = Job.model_validate_json(path.read_bytes())
                if not job.ended:
                    job.state, job.suspended = "waiting", False
                self._jobs[job.id] = job

    def __enter__(self) -> Jobs:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closing = True
            _signal(self._process, "cont")
            _signal(self._process, "kill")
            self._changed.notify_all()
        self._thread.join()

    def hang_up(self) -> None:
        """Nobody is told of changes any more."""
        self.told = False

    @property
    def held(self) -> bool:
        """Whether something goes before all jobs now."""
        return self._holders > 0

    def add(self, kind: str, title: str, given: Mapping[str, Any], about: str = "") -> Shown:
        """A new job behind those that wait. Raises ExpotionError where it cannot be kept."""
        with self._changed:
            number = 1 + max((job.number for job in self._jobs.values()), default=0)
            job = Job(id=secrets.token_hex(8), kind=kind, title=title, given=dict(given), number=number)
            job.about = about
            self._keep(job)
            self._jobs[job.id] = job
            self._changed.notify_all()
            return job.shown()

    def all(self) -> list[Shown]:
        """Every job, the newest first."""
        with self._changed:
            return [job.shown() for job in sorted(self._jobs.values(), key=lambda job: -job.number)]

    def texts(self) -> dict[str, str]:
        """Every job as JSON, by its id, the oldest first: as of AGE_S ago at most, however many ask."""
        with self._changed:
            now = time.monotonic()
            if now > self._told_s + AGE_S:
                self._told_s = now
                self._texts = {job.id: job.model_dump_json() for job in reversed(self.all())}
            return self._texts

    def get(self, name: str) -> Shown | None:
        """The job of that name."""
        with self._changed:
            return self._jobs[name].shown() if name in self._jobs else None

    def files(self, name: str) -> Path:
        """The folder of a job's files."""
        return self.folder / name

    def stop(self, name: str) -> None:
        """Ask a job to stop: one that waits is stopped, a running one leaves things in order first."""
        with self._changed:
            job = self._jobs.get(name)
            if job is not None and job.state == "waiting":
                job.state = "stopped"
                self._keep(job)
            elif job is not None and job.state == "running":
                job.state = "stopping"
                _signal(self._process, "cont")
                _signal(self._process, "stop")
                threading.Timer(PATIENCE_S, self._insist, [job.id]).start()
            self._changed.notify_all()

    def forget(self, name: str) -> bool:
        """Delete a job that has ended, and its files. False where there is none, or it has not ended."""
        with self._changed:
            job = self._jobs.get(name)
            if job is None or not job.ended:
                return False
            del self._jobs[name]
            shutil.rmtree(self.files(name), ignore_errors=True)
            self._changed.notify_all()
            return True

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Nothing runs within the block: the running job stands still and goes on afterwards."""
        self._hold(1)
        try:
            yield
        finally:
            self._hold(-1)

    def _hold(self, more: int) -> None:
        with self._changed:
            self._holders += more
            _signal(self._process, "hold" if self._holders else "cont")
            for job in self._jobs.values():
                job.suspended = bool(self._holders) and job.state == "running"
            self._changed.notify_all()

    def _insist(self, name: str) -> None:
        with self._changed:
            if self._jobs[name].state == "stopping":
                _signal(self._process, "kill")

    def _keep(self, job: Job) -> None:
        write_json(self.files(job.id) / "job.json", job.model_dump())

    def _next(self) -> Job | None:
        """Wait for a job that may run; None when the jobs are closed."""
        with self._changed:
            while not self._closing:
                waiting = [job for job in self._jobs.values() if job.state == "waiting"]
                if waiting and not self._holders:
                    return min(waiting, key=lambda job: job.number)
                self._changed.wait()
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._run(job)
            except (OSError, ExpotionError) as error:  # a full disk: the others may still be done
                log.warning("job %s: %s", job.title, error)
                with self._changed:
                    job.state, job.problems = "failed", [str(error)]

    def _run(self, job: Job) -> None:
        with self._changed:
            if job.starts >= MAX_STARTS:
                fix = "start it anew; a smaller one may need less memory"
                job.problems = [str(Problem(job.title, "to end", f"{MAX_STARTS} times it did not", fix))]
                job.state = "failed"
                self._keep(job)
                return
            job.state, job.starts = "running", job.starts + 1
            job.lines, job.problems, job.result, job.left_s = [], [], {}, None
            job.stage, job.done, job.total = "", 0, 0
            self._keep(job)
            started = time.monotonic()
            folder = self.files(job.id)
            with (folder / "log.txt").open("ab") as errors:
                self._process = process = subprocess.Popen(
                    [sys.executable, "-m", "expotion_web.worker", self.kinds[job.kind], str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    **_OWN_GROUP,
                )
            _signal(process, "hold" if self._holders else "none")
            self._changed.notify_all()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job.given).encode() + b"\n")
            process.stdin.flush()
        ending: dict[str, Any] = {}
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                ending = self._hear(job, json.loads(line), time.monotonic() - started) or ending
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        with self._changed:
            self._process = None
            job.suspended, job.seconds = False, round(time.monotonic() - started, 2)
            if self._closing and not ending:
                job.state = "waiting"  # the next server goes on
            elif ending.get("event") == "done":
                job.state, job.result, job.starts = "done", ending["result"], 0
            elif job.stopping:
                job.state = "stopped"
            else:
                job.state = "failed"
                job.problems = ending.get("problems") or [_killed(job.title, code)]
            self._keep(job)
            self._changed.notify_all()

    def _hear(self, job: Job, said: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Take in what the process says; the last thing is how it ended."""
        with self._changed:
            job.seconds = round(seconds, 2)
            if said["event"] == "progress":
                job.stage, job.done, job.total = said["stage"], said["done"], said["total"]
                job.left_s = said["left_s"]
            elif said["event"] == "line":
                job.lines = [*job.lines, said["text"]][-LINES_MAX:]
            else:
                return said
        return None


_OWN_GROUP: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if os.name == "nt"
    else {"start_new_session": True}
)


def _signal(process: subprocess.Popen[bytes] | None, what: Literal["stop", "kill", "hold", "cont", "none"]) -> None:
    """Tell a job's process and its own processes. Windows cannot hold a process: there it goes on."""
    if process is None or process.poll() is not None or what == "none":
        return
    with contextlib.suppress(OSError):
        if os.name == "nt":
            if what == "kill":
                process.kill()
            elif what == "stop":
                process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined]
            return
        if what == "stop":  # its own processes hear of it from it
            os.kill(process.pid, signal.SIGINT)
            return
        number = {"kill": signal.SIGKILL, "hold": signal.SIGSTOP, "cont": signal.SIGCONT}[what]
        os.killpg(process.pid, number)


def _killed(title: str, code: int) -> str:
    got = f"ended by signal {-code}" if code < 0 else f"ended with {code}"
    fix = "it may have run out of memory: close other programs, or ask for less; then start it again"
    return str(Problem(title, "a process that ends by itself", got, fix))
