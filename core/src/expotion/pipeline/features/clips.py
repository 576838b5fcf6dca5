"""Clips of files and folders, cheap to send to another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expotion.data.clip import FileClip
from expotion.errors import MediaError, Problem

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"})
"""What is taken from a folder; a file that is named itself may have any ending."""


@dataclass(frozen=True)
class ClipFile:
    """A file that will be opened as a clip where it is worked on."""

    id: str
    path: str

    def open(self) -> FileClip:
        """The clip. Raises MediaError for a file that cannot be used."""
        return FileClip(self.path, id=self.id)


def find_clips(paths: Sequence[Path]) -> list[ClipFile]:
    """Files, and the videos in folders (recursively), each once; ids are the stems, longer where these clash.

    Raises MediaError for what does not exist and for folders without videos, all of them at once.
    """
    files: dict[Path, None] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                problems.append(
                    Problem(str(path), f"a folder with videos ({', '.join(sorted(SUFFIXES))})", "none")
                )
            files.update(dict.fromkeys(p.resolve() for p in inside))
        elif path.is_file():
            files[path.resolve()] = None
        else:
            problems.append(Problem(str(path), "a file or a folder", "nothing there"))
    if problems:
        raise MediaError(problems)
    stems = [path.stem for path in files]
    return [ClipFile(path.stem if stems.count(path.stem) == 1 else str(path), str(path)) for path in files]
