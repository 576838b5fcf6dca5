"""What was found of files is kept, so that an interrupted `prepare` goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from expotion.corpus.examine import VERSION, Examined, Settings
from expotion.corpus.fingerprint import Print
from expotion.corpus.items import Item
from expotion.errors import ExpotionError
from expotion.files import replacing

ExamineAll = Callable[[Sequence[Item]], Iterator[tuple[int, Any]]]
"""(index, `Examined` or the exception) of every item, in the order in which they finish."""
Progress = Callable[[int, int], None]


def examined(
    items: Sequence[Item], settings: Settings, kept: Path, examine_all: ExamineAll, progress: Progress
) -> list[Examined]:
    """What is found of every item: from the folder `kept`, or by examining it now."""
    paths = [kept / f"{_key(item, settings)}.npz" for item in items]
    found: dict[int, Examined] = {}
    for i, path in enumerate(paths):
        before = load_examined(path)
        if before is not None:
            found[i] = before
    left = [i for i in range(len(items)) if i not in found]
    progress(len(found), len(items))
    for position, result in examine_all([items[i] for i in left]):
        i = left[position]
        if isinstance(result, Examined):
            found[i] = result
            save_examined(paths[i], result)
        elif isinstance(result, BrokenProcessPool):
            raise ExpotionError(
                f"a process that examined files was ended from outside (memory?) near {items[i].path}; "
                "run again to go on, with EXPOTION_WORKERS=1 for fewer processes"
            ) from result
        elif isinstance(result, (OSError, ExpotionError, ValueError, MemoryError, pickle.PickleError)):
            found[i] = Examined(dropped=[{"reason": str(result)}])
        else:
            raise result
        progress(len(found), len(items))
    return [found[i] for i in range(len(items))]


def _key(item: Item, settings: Settings) -> str:
    status = item.path.stat()
    about = [
        VERSION,
        str(item.path.resolve()),
        status.st_size,
        status.st_mtime_ns,
        item.start_s,
        item.duration_s,
    ]
    return hashlib.sha256(json.dumps([*about, asdict(settings)]).encode()).hexdigest()


def save_examined(path: Path, one: Examined) -> None:
    """Keep what was found of a file."""
    about = {name: value for name, value in vars(one).items() if name != "print"}
    with replacing(path) as draft, draft.open("wb") as file:
        parts = vars(one.print)
        np.savez(file, about=json.dumps(about), **parts)


def load_examined(path: Path) -> Examined | None:
    """What was found of a file before, or None where nothing (whole) is kept."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            return Examined(**about, print=Print(kept["hashes"], kept["frames"], kept["bands"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
