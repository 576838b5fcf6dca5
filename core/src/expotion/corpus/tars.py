"""Samples of a WebDataset tar as files: members that share a name up to the first dot belong together."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from expotion.corpus.schema import ManifestError
from expotion.errors import Problem
from expotion.files import replacing

_VIDEO = frozenset({".mp4", ".mov", ".mkv", ".webm"})
_TEXT = frozenset({".txt", ".json"})


def unpack(tar: Path, folder: Path) -> list[Path]:
    """Write each sample's video, .txt and .json to `folder`/TAR/ (once) and return the videos, sorted.

    Member names are flattened to letters, digits, dots, - and _, so that nothing lands outside. Raises
    ManifestError for a file that is no tar or is cut off.
    """
    videos = []
    target = folder / tar.stem
    try:
        with tarfile.open(tar, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                suffix = name.suffix.lower()
                if not member.isfile() or name.name.startswith(".") or suffix not in _VIDEO | _TEXT:
                    continue
                flat = re.sub(r"[^\w.-]+", "_", str(name.with_suffix(""))).lstrip(".") or "sample"
                path = target / f"{flat}{suffix}"
                content = archive.extractfile(member)
                if content is not None and not (path.is_file() and path.stat().st_size == member.size):
                    with replacing(path) as draft, draft.open("wb") as file:
                        shutil.copyfileobj(content, file)
                if suffix in _VIDEO:
                    videos.append(path)
    except (tarfile.TarError, EOFError) as error:
        raise ManifestError(Problem(str(tar), "a tar of samples", str(error))) from error
    return sorted(videos)
