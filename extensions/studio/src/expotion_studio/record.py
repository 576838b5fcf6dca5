"""The room Record: pieces, performers with their consent, takes."""

from __future__ import annotations

import contextlib
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from expotion.errors import ExpotionError, MediaError, Problem
from expotion.files import write_json
from expotion_studio import recording
from expotion_studio.compose import receive
from expotion_studio.shelf import Recording, Shelf, Song, arriving, now, plain_name
from expotion_studio.songs import SONG_S
from expotion_web.jobs import Jobs, Shown
from expotion_web.limited import limited
from expotion_web.media import file_response

MAX_TAKE_BYTES, MAX_SONG_BYTES = 1 << 29, 1 << 28
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".mp4", ".mov", ".webm", ".mkv")
WRITING_S = 240
Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,24}$")]


class Consent(BaseModel):
    """A performer's word."""

    code: Code
    agreed: bool


def record_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """Calls of the room."""
    calls = APIRouter(prefix="/api", tags=["record"])
    calls.include_router(song_calls(shelf, jobs))
    calls.include_router(performer_calls(shelf))
    calls.include_router(recording_calls(shelf, jobs))
    return calls


def song_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """Pieces are made, come, are heard, and go."""
    calls = APIRouter()

    @calls.get("/songs")
    def songs() -> list[Song]:
        """Every piece, the oldest first."""
        return shelf.all_songs()

    @calls.post("/songs/world")
    def of_world(
        count: Annotated[int, Query(ge=1, le=50)] = 3, seconds: Annotated[float, Query(ge=2, le=SONG_S)] = SONG_S
    ) -> Shown:
        """Pieces of the world, none of which what ships was trained on."""
        first = sum(not song.own for song in shelf.all_songs())
        given = {"songs": str(shelf.songs), "count": count, "first": first, "seconds": seconds}
        return jobs.add("songs", f"{count} pieces", given, "songs")

    @calls.put("/songs")
    async def give(request: Request, name: Annotated[str, Query(max_length=300)], caption: str = "music") -> Shown:
        """A piece of one's own as the body; its first 30 s are taken."""
        suffix = Path(name).suffix.lower()
        if suffix not in SOUNDS:
            wanted = f"a sound: {', '.join(SOUNDS)}"
            raise MediaError(Problem(name[:80], wanted, suffix or "a name without suffix", "convert it to wav"))
        with arriving(shelf.songs) as (song, folder):
            path = folder / f"given{suffix}"
            await receive(request, path)
            called, where = "expotion_studio.songs:heard", plain_name(name, "piece")
            await run_in_threadpool(limited, called, str(path), where=where, behind=jobs.held)
            title = where.replace("_", " ")
            given = {"folder": str(folder), "file": path.name, "title": title, "caption": caption[:200] or "music"}
            return jobs.add("song", f"{title} through the codec", given, song)

    @calls.get("/songs/{song}/{kind}")
    def sound(song: str, kind: str, request: Request) -> Response:
        """A piece's sound, or the same through the codec (back)."""
        path = shelf.song_folder(song) / f"{kind}.wav"
        if kind not in ("sound", "back") or not path.is_file():
            raise HTTPException(404, f"piece {song}: no such sound")
        return file_response(path, "audio/wav", request.headers.get("range"))

    @calls.delete("/songs/{song}")
    def forget(song: str) -> None:
        """Delete a piece; recordings of it stay."""
        shutil.rmtree(shelf.song_folder(song), ignore_errors=True)

    return calls


def performer_calls(shelf: Shelf) -> APIRouter:
    """Who agreed to what, by code."""
    calls = APIRouter()

    def text() -> str:
        own = shelf.root / "consent.txt"
        if own.is_file():
            return own.read_text(encoding="utf-8")
        return (files("expotion_studio") / "consent.txt").read_text(encoding="utf-8")

    @calls.get("/consent")
    def consent() -> dict[str, Any]:
        """The text that performers agree to (consent.txt of the studio's folder, or ours), and who has."""
        known = [path.stem for path in sorted((shelf.root / "performers").glob("*.json"))]
        return {"text": text(), "performers": known}

    @calls.post("/performers")
    def agree(word: Consent) -> dict[str, str]:
        """A performer's code, once the text has been agreed to; the text is kept with it."""
        if not word.agreed:
            raise ExpotionError(Problem("performer", "consent to the text above", "none", "tick the box"))
        write_json(shelf.root / "performers" / f"{word.code}.json", {"agreed": now(), "text": text()})
        return {"performer": word.code}

    return calls


def recording_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """Takes come, are watched, go to the manifest, and go away."""
    calls = APIRouter()

    @calls.put("/recordings")
    async def give(
        request: Request, song: str, performer: Annotated[str, Query(pattern=r"^[\w-]{1,24}$")]
    ) -> Recording:
        """A take as the body (see `recording.py`). Answers when its file is whole."""
        piece = next((one for one in shelf.all_songs() if one.id == song), None)
        if piece is None:
            raise HTTPException(404, f"piece {song[:40]}: there is none of this name")
        if not (shelf.root / "performers" / f"{performer}.json").is_file():
            raise ExpotionError(Problem(f"performer {performer}", "one who has agreed", "none", "agree first"))
        with arriving(shelf.recordings) as (name, folder):
            raw = folder / "frames.part"
            await receive(request, raw)
            sound, out = str(shelf.song_folder(song) / "sound.wav"), str(folder / f"{name}.mp4")
            called, behind = "expotion_studio.recording:write", jobs.held
            found = await run_in_threadpool(
                limited, called, str(raw), sound, out, where="take", time_s=WRITING_S, behind=behind
            )
            raw.unlink()
            one = Recording(id=name, song=song, title=piece.title, performer=performer, added=now(), **found)
            recording.side_car(folder, piece.title, piece.caption, performer)
            write_json(folder / "about.json", one.model_dump())
        return one

    @calls.get("/recordings")
    def recordings() -> list[Recording]:
        """Every recording, the oldest first."""
        return shelf.all_recordings()

    @calls.get("/recordings/{name}/video")
    def video(name: str, request: Request) -> Response:
        """A recording."""
        return file_response(
            shelf.recording_folder(name) / f"{name}.mp4", "video/mp4", request.headers.get("range")
        )

    @calls.delete("/recordings/{name}")
    def forget(name: str) -> dict[str, list[str]]:
        """Delete a recording from everywhere; answers the runs that trained on it, which still stand."""
        shelf.recording_folder(name)
        if any(job.kind in ("manifest", "train") and not job.ended for job in jobs.all()):
            raise HTTPException(409, "recordings are in use by work that has not ended; stop it first")
        return {"runs": recording.forget(shelf, name)}

    @calls.post("/manifest")
    def manifest(clip_s: Annotated[float, Query(ge=1, le=SONG_S)] = 10.0, codes: str | None = None) -> Shown:
        """Check the recordings and write their manifest, as `expotion data prepare` does."""
        if not shelf.all_recordings():
            raise ExpotionError(Problem("manifest", "at least one recording", "none", "record one"))
        given = {"root": str(shelf.root), "clip_s": clip_s, "codes": codes}
        return jobs.add("manifest", "manifest of the recordings", given, "corpus")

    return calls


def drop_half_written(shelf: Shelf) -> None:
    """Remove takes that a studio which was killed left without their description."""
    for folder in shelf.recordings.glob("*"):
        if folder.is_dir() and not (folder / "about.json").is_file():
            with contextlib.suppress(OSError):
                shutil.rmtree(folder)
