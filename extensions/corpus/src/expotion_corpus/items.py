"""What a source of videos is read into: one `Item` per file or stretch of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from expotion.manifest.rows import Split

TEXT_FIELDS = ("caption", "song", "performer", "recording", "sound")


@dataclass(frozen=True)
class Item:
    """One file, or a stretch of one, and what is known of it. `where` is the file and line that names it.

    `sound` names a piece of sound where a list does (the authors' codes); `split` is the part that a list or
    folder puts it in.
    """

    path: Path
    where: str
    start_s: float = 0.0
    duration_s: float | None = None
    caption: str | None = None
    song: str | None = None
    performer: str | None = None
    recording: str | None = None
    sound: str | None = None
    split: Split | None = None


@dataclass
class Found:
    """Items of a source, files that it names and that are not there, and what a user should know."""

    items: list[Item] = field(default_factory=list)
    missing: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
