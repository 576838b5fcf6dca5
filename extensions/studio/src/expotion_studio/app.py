"""The studio's application: its page, its rooms' calls, who may ask."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.responses import Response

from expotion.plugins import core_version
from expotion_studio.adaptors import Adaptors, adaptor_calls
from expotion_studio.compose import MAX_CLIP_BYTES, compose_calls
from expotion_studio.live import live_calls
from expotion_studio.record import MAX_SONG_BYTES, MAX_TAKE_BYTES, record_calls
from expotion_studio.shelf import Shelf
from expotion_studio.studies import AT, Studies, study_calls
from expotion_studio.train import train_calls
from expotion_web.api import application, job_calls
from expotion_web.guard import Access
from expotion_web.jobs import Jobs

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
MAX_CALL_BYTES = 65_536
LARGE = {"/api/clips": MAX_CLIP_BYTES, "/api/songs": MAX_SONG_BYTES, "/api/recordings": MAX_TAKE_BYTES}
ROOMS = ("compose", "record", "train", "live")
JOBS = {
    "see": "expotion_studio.seeing:see",
    "compose": "expotion_studio.composing:compose",
    "again": "expotion_studio.composing:again",
    "songs": "expotion_studio.songs:of_world",
    "song": "expotion_studio.songs:own",
    "manifest": "expotion_studio.recording:manifest",
    "train": "expotion_studio.training:train",
    "study": "expotion_studio.studies:build",
    "session": "expotion_studio.sessions:write",
}
OF_REPORTS = {"report.css": b"", "last.js": b"export { last };\n"}
"""Files that reports hold, and what makes a module of one."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


def access(hosts: frozenset[str], token: str | None) -> Access:
    """Who may ask the studio, and how much."""
    return Access(hosts, POLICY, token, MAX_CALL_BYTES, LARGE)


def studio(shelf: Shelf, jobs: Jobs, adaptors: Adaptors) -> FastAPI:
    """The application. Jobs run while `jobs` is entered."""
    app = application("Expotion studio", core_version())
    app.include_router(job_calls(jobs))
    app.include_router(adaptor_calls(adaptors))
    app.include_router(compose_calls(shelf, jobs, adaptors))
    app.include_router(record_calls(shelf, jobs))
    app.include_router(train_calls(shelf, jobs))
    app.include_router(live_calls(shelf, jobs, adaptors))
    app.include_router(study_calls(shelf, jobs))
    app.mount(AT, Studies(shelf))

    @app.get("/api/about", tags=["studio"])
    async def about(request: Request) -> dict[str, Any]:
        """What the page must know before anything else."""
        return {"version": core_version(), "folder": str(shelf.root), "secure": request.url.scheme == "https"}

    @app.get("/static/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        return _file(name)

    @app.get("/{room}", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page(room: str = "") -> Response:
        if room not in ("", *ROOMS):
            raise HTTPException(404, "there is no such page; start from /")
        return _file("index.html")

    return app


def _file(name: str) -> Response:
    """A file of the page: the studio's own, or what it shares with the reports."""
    kind = _TYPES.get(Path(name).suffix)
    folder = files("expotion.report") / "templates" if name in OF_REPORTS else files("expotion_studio") / "static"
    path = folder / name
    if kind is None or "/" in name or "\\" in name or not path.is_file():
        raise HTTPException(404, f"{name[:80]}: there is no such file")
    content = path.read_bytes() + OF_REPORTS.get(name, b"")
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})
