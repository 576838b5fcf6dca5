"""Samples of a WebDataset tar as files: members that share a name up to the first dot belong together."""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from expotion.corpus.items import VIDEO_SUFFIXES
from expotion.corpus.schema import ManifestError
from expotion.errors import Problem
from expotion.files import replacing

_TEXT = frozenset({".txt", ".json"})
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_tar(path: Path) -> bool:
    """Whether a name is that of a tar, packed or not."""
    return path.name.lower().endswith(_ENDINGS)


def unpack(tar: Path, folder: Path) -> list[Path]:
    """Write each sample's video, .txt and .json to a folder of this tar in `folder` (once); the videos, sorted.

    Of `KEY.front.mp4` and `KEY.back.mp4` each gets KEY's text. Member names are flattened to letters, digits, dots,
    - and _, so that nothing lands outside. Raises ManifestError for a file that is no tar or is cut off.
    """
    status = tar.stat()
    about = f"{tar.resolve()} {status.st_size} {status.st_mtime_ns}"
    target = folder / f"{tar.name.split('.')[0]}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"
    videos: list[tuple[str, Path]] = []
    texts: dict[str, list[Path]] = {}
    try:
        with tarfile.open(tar, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                suffix = name.suffix.lower()
                if not member.isfile() or name.name.startswith(".") or suffix not in VIDEO_SUFFIXES | _TEXT:
                    continue
                key = _flat(str(name.parent / name.name.split(".")[0])) or "sample"
                ending = (
                    _flat(name.name[: -len(suffix)].partition(".")[2]) if suffix in VIDEO_SUFFIXES else ""
                )
                path = target / f"{key}{'.' + ending if ending else ''}{suffix}"
                content = archive.extractfile(member)
                if content is not None and not (path.is_file() and path.stat().st_size == member.size):
                    with replacing(path) as draft, draft.open("wb") as file:
                        shutil.copyfileobj(content, file)
                if suffix in VIDEO_SUFFIXES:
                    videos.append((key, path))
                else:
                    texts.setdefault(key, []).append(path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ManifestError(Problem(str(tar), "a tar of samples", str(error))) from error
    for key, path in videos:
        for text in texts.get(key, []):
            beside = path.with_suffix(text.suffix)
            if beside != text:
                with replacing(beside) as draft:
                    shutil.copyfile(text, draft)
    return sorted(path for _, path in videos)


def _flat(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).lstrip("._") if name else ""
