"""Opening a container for writing: whole or not at all, the same bytes every time, errors in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem
from expotion.files import replacing

if TYPE_CHECKING:
    from av.container import OutputContainer

_DISK = frozenset({errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EDQUOT})
_OTHER_SUFFIX = "use another file name suffix (mp4, mov, mkv, webm) or another codec"


@contextmanager
def open_output(path: Path | str) -> Iterator[OutputContainer]:
    """A container that takes the place of `path` when the block succeeds; its kind is that of the suffix.

    Nothing in it depends on the time or on chance (matroska and ogg otherwise draw identifiers). An mp4 can be
    played before it is complete. Raises MediaError for a codec that does not fit, OutputError for a disk that
    is full or cannot be written to.
    """
    import av  # noqa: PLC0415 - the command line starts without it

    options = {"fflags": "+bitexact"}
    if Path(path).suffix.lower() in {".mp4", ".mov"}:
        options["movflags"] = "+faststart"
    with replacing(path) as part:
        try:
            with av.open(str(part), "w", options=options) as out:
                yield out
        except av.FFmpegError as error:
            if error.errno in _DISK:  # `replacing` explains those
                raise OSError(error.errno, error.strerror) from error
            raise MediaError(
                Problem(str(path), "a file that can be written", str(error.strerror), _OTHER_SUFFIX)
            ) from error


def name_track(out: OutputContainer, stream: Any, title: str, *, default: bool) -> None:
    """Give a track the name that players show, and say whether they choose it by themselves."""
    from av.stream import Disposition  # noqa: PLC0415

    matroska = out.format.name in {"matroska", "webm"}
    stream.metadata["title" if matroska else "handler_name"] = title
    stream.disposition = Disposition.default if default else Disposition(0)


def check_samples(path: Path | str, samples: NDArray[np.float32]) -> None:
    """Raise MediaError unless samples are mono [n] and finite."""
    if samples.ndim != 1:
        raise MediaError(Problem(str(path), "mono samples [n]", f"shape {samples.shape}"))
    if not bool(np.isfinite(samples).all()):
        raise MediaError(Problem(str(path), "samples that are finite numbers", "NaN or infinity"))
