"""Work for the tests of workers: importable in the processes that do it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from expotion import machine
from expotion.workers import spread


class StubbornError(Exception):
    """An error that does not survive pickling."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def opened() -> dict[str, int]:
    return {"pid": os.getpid(), "used": 0}


def unopened() -> None:
    raise ValueError("no models here")


def count(state: dict[str, int], item: int) -> tuple[int, int, int]:
    """Item squared, the process, and how many items it has done."""
    state["used"] += 1
    time.sleep(0.2)
    return item * item, state["pid"], state["used"]


def errand(item: object) -> object:
    """Do what the item says."""
    match item:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "leave":
            raise SystemExit(3)
        case "raise":
            raise ValueError("no good")
        case "stubborn":
            raise StubbornError("does", "not travel")
        case "unpicklable":
            return lambda: None
        case "threads":
            return os.environ["OMP_NUM_THREADS"], os.environ["EXPOTION_WORKERS"]
        case "pid":
            return os.getpid()
        case ("once", path):
            Path(path).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        case ("twice", path):
            if not Path(path).exists():
                Path(path).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        case ("sleep", seconds, started, tidied):
            _sleep(seconds, started, tidied)
    return item


def _sleep(seconds: int, started: str, tidied: str) -> None:
    try:
        Path(started).write_text(str(os.getpid()))
        for _ in range(10 * seconds):  # Ray interrupts between instructions only
            time.sleep(0.1)
    finally:
        Path(tidied).touch()


def many(folder: str) -> None:
    """Two errands that take long, over processes."""
    items = [("sleep", 60, f"{folder}/{i}.started", f"{folder}/{i}.tidied") for i in range(2)]
    for _ in spread(errand, items, workers=2):
        pass


if __name__ == "__main__":
    import sys

    # What runs in a shell's background ignores a Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    many(sys.argv[1])


def told(_: object) -> tuple[dict[str, Any], str]:
    """What a worker holds for decided, and what `auto` is for an encoder there."""
    return machine.choice(), machine.auto_precision("cuda", "encoders")


def write_one_key(folder: Path, value: int) -> None:
    """Write and read one entry of a store over and over; exit code 3 for an entry of two writers."""
    import numpy as np

    from expotion.contracts import TimedFeatures
    from expotion.features.store import FeatureStore, write_entry

    store, key = FeatureStore(folder), "ab" * 32
    track = TimedFeatures(np.full((50, 8), value, np.float32), np.arange(50) / 5, np.ones(50, np.bool_))
    for _ in range(100):
        write_entry(store.path(key), track, {"key": key})
        found = store.read(key)
        if found is None or found.values.min() != found.values.max():
            raise SystemExit(3)
