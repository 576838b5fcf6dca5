"""What has been pulled: `CACHE/models/NAME/model.json` beside the files, or pointing into the hub's own cache."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expotion.files import cache_folder, write_json

NOTE = "model.json"


@dataclass(frozen=True)
class Pulled:
    """A finished download: where it lies (`file` is the one that holds the weights), its size and hash."""

    name: str
    source: str
    licence: str
    folder: str
    file: str
    size_bytes: int
    sha256: str


def folder_of(name: str) -> Path:
    """The folder of a model in the cache; it need not exist."""
    return cache_folder() / "models" / name


def pulled(name: str) -> Pulled | None:
    """The note of a finished download whose file is still there, or None."""
    note = remembered(name)
    return note if note is not None and Path(note.file).exists() else None


def remembered(name: str) -> Pulled | None:
    """The note of a download, even when its file is gone: its hash is what a new download must have."""
    try:
        data: Any = json.loads((folder_of(name) / NOTE).read_text(encoding="utf-8"))
        return Pulled(**data)
    except (OSError, ValueError, TypeError):
        return None


def remember(note: Pulled) -> None:
    """Write the note of a finished download."""
    write_json(folder_of(note.name) / NOTE, asdict(note))
