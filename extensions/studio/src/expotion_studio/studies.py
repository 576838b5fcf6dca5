"""Listening studies of runs: the extension `study` makes and analyses them; the studio has them at /study."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException
from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from expotion_studio.shelf import Shelf
from expotion_study.model import ANSWERS_FILE, STUDY_FILE, Study
from expotion_study.store import Answers
from expotion_web.jobs import Jobs, Shown

if TYPE_CHECKING:
    from expotion_web.worker import Telling

AT = "/study"


def build(given: dict[str, Any], telling: Telling) -> dict[str, Any]:
    """A job: a blind test of a run's music with its controls, without any, and of the pieces themselves."""
    from expotion import plugins
    from expotion_study.build import Asked, build_study
    from expotion_study.sources import open_sources

    run, out = Path(given["run"]), Path(given["out"])
    systems = [f"controls={run}", f"text={run}:text_only", f"piece={run}:original"]
    sources = open_sources(systems, plugins.discover())
    asked = Asked(title="Music for movement")
    study = build_study(sources, out, asked, note=telling.console.print, progress=telling.progress)
    return {"run": given["name"], "clips": len(study.clips)}


def study_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """A run's study is built, and what it found is read."""
    calls = APIRouter(prefix="/api/runs", tags=["train"])

    @calls.post("/{name}/study")
    def make(name: str) -> Shown:
        """Build a listening study of a run's test."""
        run = shelf.run_folder(name)
        if not (run / "samples" / "text_only").is_dir():
            raise HTTPException(409, f"run {name}: it has no test to listen to")
        out = shelf.studies / name
        if out.exists() or any(job.kind == "study" and job.about == name and not job.ended for job in jobs.all()):
            raise HTTPException(409, f"run {name}: it has a study already")
        return jobs.add("study", f"study of {name}", {"name": name, "run": str(run), "out": str(out)}, name)

    @calls.get("/{name}/study/results")
    def results(name: str) -> Response:
        """What the answers say so far, as Markdown; the files of `expotion study results` are written as well."""
        from expotion_study.results import write_results

        shelf.run_folder(name)
        folder = shelf.studies / name
        if not (folder / STUDY_FILE).is_file():
            raise HTTPException(404, f"run {name}: it has no study")
        return PlainTextResponse(write_results(folder)[0].rpartition("\n!")[0])

    return calls


class Studies:
    """An application of all studies: /NAME/ is that of a run. Each is opened when it is first asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf, self._opening = shelf, threading.Lock()
        self._opened: dict[str, tuple[str, ASGIApp]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the study that the path names."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        name, _, rest = scope["path"].removeprefix(f"{AT}/").partition("/")
        if scope["path"] == f"{AT}/{name}":
            await RedirectResponse(f"{AT}/{name}/")(scope, receive, send)
            return
        try:
            app = self._app(name)
        except HTTPException as error:
            await PlainTextResponse(str(error.detail), error.status_code)(scope, receive, send)
            return
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode(), "root_path": "", "app_root_path": ""}
        await app(inner, receive, functools.partial(_own_forms, send))

    def _app(self, name: str) -> ASGIApp:
        from expotion_study.server import Flow, application, media_of

        self._shelf.run_folder(name)
        folder = self._shelf.studies / name
        if not (folder / STUDY_FILE).is_file():
            raise HTTPException(404, f"run {name}: it has no study")
        with self._opening:
            study = Study.load(folder)
            if name not in self._opened or self._opened[name][0] != study.id:
                answers = Answers(folder / ANSWERS_FILE, study.id)
                self._opened[name] = study.id, application(Flow(study, answers), media_of(study, folder))
            return self._opened[name][1]


async def _own_forms(send: Send, message: Message) -> None:
    """Forms of a page that tells nobody where it is have no Origin, and would be refused."""
    if message["type"] == "http.response.start":
        MutableHeaders(scope=message)["Referrer-Policy"] = "same-origin"
    await send(message)
