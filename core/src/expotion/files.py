"""Writing files whole or not at all, their hashes, and the folder of caches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from expotion.errors import OutputError, Problem

WRITE_FIX = "check that the folder can be written to and that the disk is not full"


def cache_folder() -> Path:
    """Folder of Expotion's caches: $EXPOTION_CACHE, else the platform's cache folder and `expotion`."""
    asked = os.environ.get("EXPOTION_CACHE")
    if asked:
        return Path(asked).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "expotion"


@contextlib.contextmanager
def replacing(path: Path | str, *, fix: str = WRITE_FIX) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block succeeds.

    The folder is made if need be. The file is flushed to disk before it is renamed; when the block fails it
    is removed and `path` is left as it was. An OSError (full disk, no permission) becomes an OutputError.
    """
    target = Path(path)
    # Short, so that a name as long as the file system allows still has a draft.
    draft = target.with_name(f".{uuid.uuid4().hex[:12]}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(Problem(str(target), "could not be written", str(error), fix)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path, *, fix: str = WRITE_FIX) -> Iterator[Path]:
    """A new folder of files beside `path`, which takes its place when the block succeeds: `replacing` for folders.

    What stood there is removed last, and comes back where the new folder cannot be put in its place.
    """
    draft = path.with_name(f".{uuid.uuid4().hex[:12]}.part")
    old = draft.with_suffix(".old")
    try:
        draft.mkdir(parents=True)
        yield draft
        for each in (each for each in draft.rglob("*") if each.is_file()):
            with each.open("rb+") as file:
                os.fsync(file.fileno())
        if path.exists():
            path.rename(old)
        draft.rename(path)
    except OSError as error:
        raise OutputError(Problem(str(path), "could not be written", str(error), fix)) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a .npy file, atomically."""
    with replacing(path) as draft, draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, remembered while its size and modification time stay the same.

    Files that were just written may change too fast for it: `sha256_of`.
    """
    status = path.stat()
    return _sha256_at(os.path.realpath(path), status.st_mtime_ns, status.st_size)


@cache
def _sha256_at(path: str, mtime_ns: int, size: int) -> str:
    return sha256_of(Path(path))
