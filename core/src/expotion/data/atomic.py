"""Write a file so that it is either complete or absent."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expotion.errors import MediaError, Problem


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its place when the block succeeds.

    The file is flushed to disk before it is renamed; when the block fails it is removed and `path` is left
    as it was. An OSError (full disk, no permission) becomes a MediaError.
    """
    target = Path(path)
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:12]}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        fix = "check that the folder can be written to and that the disk is not full"
        raise MediaError(Problem(str(target), "could not be written", str(error), fix)) from error
    finally:
        part.unlink(missing_ok=True)
