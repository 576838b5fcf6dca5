"""The room Compose: clips, what was seen of them, takes."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from expotion.errors import MediaError, OutputError, Problem
from expotion.files import WRITE_FIX, write_json
from expotion_studio.adaptors import Adaptors
from expotion_studio.shelf import Clip, Shelf, Take, arriving, new_name, now, plain_name
from expotion_web.jobs import Jobs, Shown
from expotion_web.limited import limited
from expotion_web.media import file_response

MAX_CLIP_BYTES = 1 << 30
MAX_TAKES = 8
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
KINDS = {
    ".wav": "audio/wav",
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".json": "application/json",
}
Control = Annotated[str, Field(max_length=2000)]


class Asked(BaseModel):
    """What is asked of takes. `strengths` by control as `SECONDS:VALUE,..`; None leaves it to the adaptor."""

    adaptor: str = ""
    prompt: Annotated[str, Field(max_length=2000)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    samples: Annotated[int, Field(ge=1, le=MAX_TAKES)] = 1
    strengths: dict[str, Control] = {}
    guidance: dict[str, float] = {}
    cfg_scale: float | None = None
    temperature: float | None = None


def compose_calls(shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> APIRouter:
    """Calls of the room."""
    calls = APIRouter(prefix="/api", tags=["compose"])
    calls.include_router(clip_calls(shelf, jobs, adaptors))
    calls.include_router(take_calls(shelf, jobs, adaptors))
    return calls


def clip_calls(shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> APIRouter:
    """Clips come, are looked at, and go."""
    calls = APIRouter()

    @calls.put("/clips")
    async def give(
        request: Request, name: Annotated[str, Query(max_length=300)], adaptor: str = ""
    ) -> dict[str, Any]:
        """A clip as the body of the request. Answers the clip and the job that looks at it."""
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            wanted = f"a video: {', '.join(SUFFIXES)}"
            raise MediaError(Problem(name[:80], wanted, suffix or "a name without suffix", "convert it to mp4"))
        folder_of = adaptors.named(adaptor)
        with arriving(shelf.clips) as (clip_id, folder):
            path = folder / f"{plain_name(name, 'clip')}{suffix}"
            await receive(request, path)
            called, where = "expotion_studio.seeing:examined", plain_name(name, "clip")
            found = await run_in_threadpool(limited, called, str(path), where=where, behind=jobs.held)
            clip = Clip(id=clip_id, name=Path(name).name[:80], file=path.name, added=now(), **found)
            write_json(folder / "clip.json", clip.model_dump())
        return {"clip": clip, "job": look_at(clip, folder_of)}

    def look_at(clip: Clip, adaptor: str | None) -> Shown:
        given = {"folder": str(shelf.clip_folder(clip.id)), "file": clip.file, "clip": clip.id, "adaptor": adaptor}
        return jobs.add("see", f"look at {clip.name}", given, clip.id)

    @calls.get("/clips")
    def clips() -> list[Clip]:
        """Every clip, the newest first."""
        return shelf.all_clips()

    @calls.delete("/clips/{clip_id}")
    def forget(clip_id: str) -> None:
        """Delete a clip, its takes and all that was made of it."""
        folder = shelf.clip_folder(clip_id)
        if any(job.about == clip_id and not job.ended for job in jobs.all()):
            raise HTTPException(409, "something is being made for it; stop that first")
        for take in shelf.takes_of(clip_id):
            shutil.rmtree(shelf.piece_folder(take.id)[0], ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)

    @calls.post("/clips/{clip_id}/look")
    def look_again(clip_id: str, adaptor: str = "") -> Shown:
        """Look at a clip with the controls of another adaptor."""
        return look_at(shelf.clip(clip_id), adaptors.named(adaptor))

    @calls.get("/clips/{clip_id}/look")
    def look(clip_id: str) -> Response:
        """What was seen: overlays over the picture and curves under it; null until it was looked at."""
        path = shelf.clip_folder(clip_id) / "look.json"
        return Response(path.read_bytes() if path.is_file() else b"null", media_type="application/json")

    @calls.get("/clips/{clip_id}/picture")
    def picture(clip_id: str, request: Request) -> Response:
        """The picture as every browser plays it, without sound."""
        path = shelf.clip_folder(clip_id) / "picture.mp4"
        if not path.is_file():
            raise HTTPException(404, "it has not been looked at yet")
        return file_response(path, "video/mp4", request.headers.get("range"), "no-store")

    return calls


def take_calls(shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> APIRouter:
    """Takes are made, compared, kept, made again, and go."""
    calls = APIRouter()

    @calls.post("/clips/{clip_id}/takes")
    def make(clip_id: str, asked: Asked) -> Shown:
        """Takes of music for a clip. What is wrong with what is asked is said before anything is loaded."""
        clip = shelf.clip(clip_id)
        steering = adaptors.steering(asked.model_dump(exclude={"samples"}, exclude_none=True))
        given = {
            "clip": clip_id,
            "file": str(shelf.clip_folder(clip_id) / clip.file),
            "out": str(shelf.pieces / new_name()),
            "root": str(shelf.root),
            "steering": steering,
            "samples": asked.samples,
        }
        title = f"music for {clip.name}" if asked.samples == 1 else f"{asked.samples} takes for {clip.name}"
        return jobs.add("compose", title, given, clip_id)

    @calls.get("/clips/{clip_id}/takes")
    def takes(clip_id: str) -> list[Take]:
        """The takes of a clip, the oldest first."""
        shelf.clip(clip_id)
        return shelf.takes_of(clip_id)

    @calls.post("/takes/{name}/keep")
    def keep(name: str, kept: bool = True) -> list[Take]:
        """Keep this take; of a clip's takes one is kept at most."""
        _, take = shelf.take(name)
        for other in shelf.takes_of(take.clip):
            if other.kept or other.id == name:
                shelf.change(other.id, kept=kept and other.id == name)
        return shelf.takes_of(take.clip)

    @calls.delete("/takes/{name}")
    def drop(name: str) -> list[Take]:
        """Delete a take and its files."""
        folder, take = shelf.take(name)
        for file in take.files.values():
            (folder / file).unlink(missing_ok=True)
        shelf.write_takes(folder, [other for other in shelf.takes(folder) if other.id != name])
        return shelf.takes_of(take.clip)

    @calls.post("/takes/{name}/again")
    def once_more(name: str) -> Shown:
        """Make a take again from its record; afterwards it says whether the bytes were the same."""
        folder, take = shelf.take(name)
        record = str(folder / take.files["json"])
        given = {"root": str(shelf.root), "record": record, "take": name, "clip": take.clip}
        return jobs.add("again", f"take {take.seed} again", given, take.clip)

    @calls.get("/takes/{name}/files/{kind}")
    def file(name: str, kind: str, request: Request) -> Response:
        """A take's wav, video or json."""
        folder, take = shelf.take(name)
        if kind not in take.files:
            raise HTTPException(404, f"take {name}: no {kind[:20]}")
        path = folder / take.files[kind]
        response = file_response(path, KINDS[path.suffix], request.headers.get("range"))
        response.headers["Content-Disposition"] = f'inline; filename="{path.name}"'
        return response

    return calls


async def receive(request: Request, path: Path) -> None:
    """Write a body as it comes. Raises OutputError for a full disk, MediaError for one that broke off."""
    expected, done = int(request.headers["content-length"]), 0
    try:
        with path.open("wb") as file:
            write: Callable[[bytes], int] = file.write
            async for chunk in request.stream():
                done += len(chunk)
                await run_in_threadpool(functools.partial(write, chunk))
    except OSError as error:
        raise OutputError(Problem("the studio's folder", "could not be written", str(error), WRITE_FIX)) from error
    if done != expected:
        raise MediaError(Problem("upload", f"{expected} bytes", str(done), "send it again"))
