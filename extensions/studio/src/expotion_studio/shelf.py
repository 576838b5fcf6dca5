"""The studio's folder: clips, pieces and what was seen of them. Nothing is found by a path that a page names.

clips/ID/       clip.json, the file as it came, picture.mp4 for the page, look.json
pieces/JOB/     takes.json, and NAME.wav, a video and NAME.json of every take
songs/ID/       song.json, sound.wav, and back.wav: the same through the codec
recordings/ID/  about.json, and ID.mp4 with ID.json, as `expotion data prepare` reads them
performers/     CODE.json: who agreed to what
corpus/         what `data prepare` and `data split` wrote of the recordings
runs/           run folders of recipes; NAME.recordings.json beside one says what it trained on
sessions/ID/    session.json and ID.mp4 of what was played live (`sessions.py`)
studies/        listening studies of runs, as `expotion study build` makes them
jobs/           long work (`expotion_web.jobs`)
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException
from pydantic import BaseModel, ValidationError

from expotion.files import write_json

_NAME = re.compile(r"[0-9a-f]{16}")
RUN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
Kept = TypeVar("Kept", bound=BaseModel)


class Clip(BaseModel):
    """A clip that was given. `size` is (height, width); `notes` say what is wrong with it."""

    id: str
    name: str
    file: str
    duration_s: float
    size: tuple[int, int]
    fps: float
    has_sound: bool
    added: str
    notes: list[str] = []


class Take(BaseModel):
    """A piece for a clip: `files` by kind, `scores` as [label, value or why there is none]."""

    id: str
    clip: str
    seed: int
    prompt: str
    files: dict[str, str]
    scores: list[tuple[str, str]] = []
    warnings: list[str] = []
    kept: bool = False
    again: str = ""


class Song(BaseModel):
    """A piece to move to.

    `distance_db` is how far it is from itself through the codec, `usual_db` what is usual for the codec.
    """

    id: str
    title: str
    caption: str
    duration_s: float
    own: bool = False
    distance_db: float | None = None
    usual_db: float | None = None
    added: str = ""


class Recording(BaseModel):
    """A take of a performer to a song. `offset_s` was taken off the times of its frames, `offset_from` says why."""

    id: str
    song: str
    title: str
    performer: str
    duration_s: float
    frames: int
    fps: float
    dropped: int
    offset_s: float
    offset_from: str
    added: str
    notes: list[str] = []


class Session(BaseModel):
    """A session that was played. `said` are prompts and when they were given; `about` says how it went."""

    id: str
    added: str
    adaptor: str
    said: list[tuple[float, str]]
    duration_s: float
    frames: int
    about: str = ""


class Shelf:
    """Where things stand. Every name from a page is looked up, and answered with 404 where it is none of ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clips, self.pieces, self.jobs = root / "clips", root / "pieces", root / "jobs"
        self.songs, self.recordings, self.corpus = root / "songs", root / "recordings", root / "corpus"
        self.runs, self.studies, self.sessions = root / "runs", root / "studies", root / "sessions"

    def clip_folder(self, name: str) -> Path:
        """The folder of a clip."""
        return _there(self.clips, name, "clip")

    def clip(self, name: str) -> Clip:
        """A clip by its id."""
        found = _read(self.clip_folder(name) / "clip.json", Clip)
        if found is None:
            raise HTTPException(404, f"clip {name}: there is none of this name")
        return found

    def all_clips(self) -> list[Clip]:
        """Every clip, the newest first."""
        found = (_read(path, Clip) for path in self.clips.glob("*/clip.json"))
        return sorted((clip for clip in found if clip is not None), key=lambda clip: clip.added, reverse=True)

    def song_folder(self, name: str) -> Path:
        """The folder of a song."""
        return _there(self.songs, name, "piece")

    def all_songs(self) -> list[Song]:
        """Every song, the oldest first."""
        found = (_read(path, Song) for path in self.songs.glob("*/song.json"))
        return sorted((song for song in found if song is not None), key=lambda song: song.added)

    def recording_folder(self, name: str) -> Path:
        """The folder of a recording."""
        return _there(self.recordings, name, "recording")

    def all_recordings(self) -> list[Recording]:
        """Every recording, the oldest first."""
        found = (_read(path, Recording) for path in self.recordings.glob("*/about.json"))
        return sorted((one for one in found if one is not None), key=lambda one: one.added)

    def session_folder(self, name: str) -> Path:
        """The folder of a session."""
        return _there(self.sessions, name, "session")

    def all_sessions(self) -> list[Session]:
        """Every session whose video is written, the newest first."""
        found = (_read(path, Session) for path in self.sessions.glob("*/session.json"))
        return sorted((one for one in found if one is not None), key=lambda one: one.added, reverse=True)

    def run_folder(self, name: str) -> Path:
        """The folder of a run that was asked for here; it may not have begun."""
        if RUN_NAME.fullmatch(name) is None or not (self.runs / f"{name}.yaml").is_file():
            raise HTTPException(404, f"run {name[:40]}: there is none of this name")
        return self.runs / name

    def piece_folder(self, take: str) -> tuple[Path, int]:
        """The folder and number of a take, whose id is JOB-NUMBER."""
        job, _, number = take.partition("-")
        folder = _there(self.pieces, job, "take")
        if not number.isascii() or not number.isdigit():
            raise HTTPException(404, f"take {take}: there is none of this name")
        return folder, int(number)

    def takes(self, folder: Path) -> list[Take]:
        """The takes of a folder of pieces."""
        with contextlib.suppress(OSError, ValueError, ValidationError):
            return [Take.model_validate(take) for take in json.loads((folder / "takes.json").read_text("utf-8"))]
        return []

    def takes_of(self, clip: str) -> list[Take]:
        """Every take of a clip, in the order in which they were made."""
        folders = sorted(self.pieces.glob("*/takes.json"), key=lambda path: path.stat().st_mtime)
        return [take for path in folders for take in self.takes(path.parent) if take.clip == clip]

    def take(self, name: str) -> tuple[Path, Take]:
        """The folder of a take, and the take."""
        folder, _ = self.piece_folder(name)
        found = next((take for take in self.takes(folder) if take.id == name), None)
        if found is None:
            raise HTTPException(404, f"take {name}: there is none of this name")
        return folder, found

    def write_takes(self, folder: Path, takes: list[Take]) -> None:
        """Keep the takes of a folder of pieces; without any, the folder goes."""
        if takes:
            write_json(folder / "takes.json", [take.model_dump() for take in takes])
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def change(self, name: str, **fields: Any) -> None:
        """Change fields of a take."""
        folder, _ = self.take(name)
        takes = [take.model_copy(update=fields) if take.id == name else take for take in self.takes(folder)]
        self.write_takes(folder, takes)


def new_name() -> str:
    """A name that nobody guesses."""
    return secrets.token_hex(8)


@contextlib.contextmanager
def arriving(parent: Path) -> Iterator[tuple[str, Path]]:
    """A new folder for something that comes in; it is gone again where the block fails."""
    name = new_name()
    folder = parent / name
    folder.mkdir(parents=True)
    try:
        yield name, folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def now() -> str:
    """The time, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def plain_name(given: str, default: str) -> str:
    """A file's name without suffix that any file system takes and no page can do harm with."""
    words = re.sub(r"[^\w-]+", "_", Path(given).stem, flags=re.ASCII).strip("_-")
    return words[:40] or default


def _there(parent: Path, name: str, what: str) -> Path:
    folder = parent / name
    if _NAME.fullmatch(name) is None or not folder.is_dir():
        raise HTTPException(404, f"{what} {name[:40]}: there is none of this name")
    return folder


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    with contextlib.suppress(OSError, ValidationError):
        return kind.model_validate_json(path.read_bytes())
    return None
