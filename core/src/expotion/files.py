"""Writing files whole or not at all, their hashes, and the folder of caches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expotion.errors import OutputError, Problem

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("expotion")
WRITE_FIX = "check that the folder can be written to and that the disk is not full"


def cache_folder() -> Path:
    """Folder of Expotion's caches: $EXPOTION_CACHE, else the platform's cache folder and `expotion`.

    Where the latter is not there and cannot be made (no home, or one that is only read), a private temporary one.
    """
    asked = os.environ.get("EXPOTION_CACHE")
    if asked:
        return Path(asked).expanduser()
    own = _users_caches() / "expotion"
    return own if os.path.isdir(own) or can_write(own) else _private_folder()


def lend_caches() -> None:
    """Give libraries that keep caches of their own a folder in ours where the user's cannot be written."""
    users = _users_caches()
    if can_write(users):
        return
    folder = cache_folder()
    folder = folder if can_write(folder) else _private_folder()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder / "numba"))
    if not os.path.isdir(users / "huggingface"):  # one that can only be read holds models
        os.environ.setdefault("HF_HOME", str(folder / "huggingface"))


def _users_caches() -> Path:
    home = Path(os.path.expanduser("~"))  # it stays "~" where a user has none
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def can_write(folder: Path) -> bool:
    """Whether a folder can be written into, or made; nothing is made to find out."""
    there = next((each for each in (folder, *folder.parents) if os.access(each, os.F_OK)), folder)
    return folder.is_absolute() and os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


@cache
def _private_folder() -> Path:
    """A temporary folder that nobody else writes into, the same in every process of this user; said once."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"expotion-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
        if (
            about.st_uid != user or about.st_mode & 0o170077 != 0o040000
        ):  # not ours, or no folder, or open to others
            folder = Path(tempfile.mkdtemp(prefix="expotion-"))
    except OSError:  # nothing can be written anywhere: everything works without its cache
        return _users_caches() / "expotion"
    if parent_process() is None:
        fix = "set EXPOTION_CACHE to a folder that can, to keep them"
        log.warning("no cache of this user can be written; caches are in %s (%s)", folder, fix)
    return folder


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder for the block; what was made for it and has stayed empty is gone afterwards. Raises OSError."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            for each in new:
                each.rmdir()


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


def escaped(text: str) -> str:
    """Text that UTF-8 can hold: what of a file's name is none stands as `\\udcff`, which JSON reads as it was."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically; see `escaped`."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically. NaN and infinity are refused: they are not JSON."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a .npy file, atomically."""
    import numpy as np  # noqa: PLC0415 - the command line starts without it

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
