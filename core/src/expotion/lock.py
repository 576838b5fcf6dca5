"""One run at a time in a folder, or at a piece: a lock of one line, `HOST PID START`, that is there meanwhile.

It is stale when its process is gone, or another one started later under the same number. Of another machine or
container only the beat is seen: a run touches its lock every `BEAT_S`; one silent for `SILENT_S` is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from expotion.errors import OutputError, Problem, RunFolderError
from expotion.files import made

LOCK = "run.lock"
BEAT_S = 30.0
SILENT_S = 300.0

_held: set[Path] = set()
"""Locks of this process: what it calls inside a run may ask again."""


@contextlib.contextmanager
def held(folder: Path, pieces: Iterable[str] = ()) -> Iterator[None]:
    """Hold the lock of a folder, or of pieces in it by their names; the folder is made, and goes if it stays empty.

    Raises RunFolderError where another run holds it.
    """
    line = f"{_host()} {os.getpid()} {_start_of(os.getpid())}"
    named = {f".{hashlib.sha256(os.fsencode(piece)).hexdigest()[:12]}.lock": piece for piece in pieces}
    locks = [folder.absolute() / name for name in named or (LOCK,)]
    if locks[0] in _held:
        yield
        return
    done = threading.Event()
    with contextlib.ExitStack() as closing:
        try:
            closing.enter_context(made(folder))
            for lock in locks:
                _take(lock, line, named.get(lock.name))
                closing.callback(_release, lock, line)
        except OSError as error:
            got, fix = error.strerror or str(error), "give another --out, or free some space"
            raise OutputError(Problem(str(folder), "a folder that can be written to", got, fix)) from error
        threading.Thread(target=_beat, args=(locks, done), name="lock", daemon=True).start()
        closing.callback(done.set)
        yield


def _release(lock: Path, line: str) -> None:
    _held.discard(lock)
    with contextlib.suppress(OSError):
        if lock.read_text(encoding="utf-8") == line:  # it may have been taken for stale
            lock.unlink()


def _take(lock: Path, line: str, piece: str | None) -> None:
    """Write the lock. One that is stale is moved away, not removed: two may find it at once, and one be quicker."""
    while True:
        with contextlib.suppress(FileExistsError), lock.open("x", encoding="utf-8") as file:
            file.write(line)
            _held.add(lock)
            return
        with contextlib.suppress(FileNotFoundError):  # its run has ended meanwhile
            found = lock.read_text(encoding="utf-8", errors="replace")
            if _is_alive(lock, found):
                raise RunFolderError(_in_use(lock, found, piece))
            aside = lock.rename(lock.with_name(f".{uuid.uuid4().hex[:12]}.part"))
            if aside.read_text(encoding="utf-8", errors="replace") != found:
                aside.rename(lock)  # the lock of the quicker one
            aside.unlink(missing_ok=True)


def _is_alive(lock: Path, line: str) -> bool:
    """Whether the run of a lock goes on, as far as can be seen from here."""
    host, pid, start = (*line.split(), "", "", "")[:3]
    if host == _host() and start:
        return _start_of(int(pid)) == start
    return time.time() - lock.stat().st_mtime < SILENT_S


def _in_use(lock: Path, line: str, piece: str | None) -> Problem:
    host, pid = (*line.split(), "unknown", "unknown")[:2]
    fix = "wait for it, stop it, or give another --out"
    if host != _host():
        fix += f"; if it is gone, remove {lock}"
    got = f"process {pid} on {host.partition('/')[0]}"
    if piece is not None:
        return Problem(str(lock.with_name(piece)), "music that no other run is making", got, fix)
    return Problem(str(lock.parent), "a folder that no other run is working in", got, fix)


def _host() -> str:
    """This machine, and whose process numbers are meant: containers may share a machine's name."""
    with contextlib.suppress(OSError):
        return f"{platform.node()}/{os.stat('/proc/self/ns/pid').st_ino}"
    return platform.node() or "unknown"


def _start_of(pid: int) -> str:
    """When a process started, in ticks of the machine's clock (proc(5)); "" where none is seen."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if about[0] == "Z" else about[19]  # the state stands first behind the name, the start 19 fields on


def _beat(locks: Sequence[Path], done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        for lock in locks:
            with contextlib.suppress(OSError):
                os.utime(lock)
