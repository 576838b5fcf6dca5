"""The process of one job: `python -m expotion_web.worker MODULE:FUNCTION FOLDER`, values on standard input.

What it says goes out as lines of JSON; everything that other code prints goes to its log.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from rich.console import Console

from expotion.errors import FAULTS, ExpotionError, in_short
from expotion.progress import listening

OFTEN_S = 0.1
"""Progress is said this often at most."""


class Telling:
    """How a job says what it does: `folder` is its own, `console` takes `lines`, `progress` counts."""

    def __init__(self, out: io.TextIOBase, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.console = Console(file=_Lines(self), width=200, highlight=False, soft_wrap=True)  # type: ignore[arg-type]
        self._out, self._lock = out, threading.Lock()
        self._stage, self._began, self._last = "", time.monotonic(), 0.0

    def progress(self, stage: str, done: int, total: int) -> None:
        """How much of a stage is done; the time left follows its pace."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._last = stage, now, 0.0
        if done < 0 or (now - self._last < OFTEN_S and done < total):
            return
        self._last = now
        left_s = round((now - self._began) / done * (total - done), 1) if 0 < done <= total else None
        self.say(event="progress", stage=stage, done=done, total=total, left_s=left_s)

    def say(self, **what: Any) -> None:
        """One line of JSON."""
        with self._lock:
            self._out.write(json.dumps(what) + "\n")
            self._out.flush()


class _Lines(io.TextIOBase):
    """A console's file: every whole line is told."""

    def __init__(self, telling: Telling) -> None:
        self._telling, self._text = telling, ""

    def write(self, text: str) -> int:
        """More text."""
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            if line.strip():
                self._telling.lines.append(line.rstrip())
                self._telling.say(event="line", text=line.rstrip())
        return len(text)


def main() -> None:
    """Run the function; say how it ended."""
    if os.name == "nt":
        signal.signal(signal.SIGBREAK, signal.default_int_handler)  # type: ignore[attr-defined]
    # a server that a script began in the background passes on that SIGINT is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # foreign code prints into the log
    named, folder = sys.argv[1:3]
    given = json.loads(sys.stdin.readline())
    threading.Thread(target=_until_the_server_goes, daemon=True).start()
    telling = Telling(own, Path(folder))
    try:
        module, _, function = named.partition(":")
        with listening(telling.progress):
            result = getattr(importlib.import_module(module), function)(given, telling)
        telling.say(event="done", result=result)
    except KeyboardInterrupt:
        telling.say(event="stopped")
    except ExpotionError as error:
        telling.say(event="failed", problems=[str(problem) for problem in error.problems])
    except FAULTS as error:
        traceback.print_exc()
        telling.say(
            event="failed", problems=[f"{in_short(error)} (all of it stands in log.txt of job {Path(folder).name})"]
        )
    sys.stderr.flush()
    os._exit(0)  # threads of libraries must not keep it


def _until_the_server_goes() -> None:
    """A server that was killed takes its job with it; the next one starts it again."""
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
