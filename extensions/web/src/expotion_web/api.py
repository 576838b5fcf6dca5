"""An application for a page's calls: errors in words, jobs with progress as events, nothing from elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI, HTTPException, Request
from starlette.responses import JSONResponse, StreamingResponse

from expotion.errors import ExpotionError, OutputError
from expotion_web.jobs import Jobs, Shown

TICK_S, QUIET_TICKS = 0.25, 40
"""How often changes are looked for, and after how many without one a line is sent that keeps the connection."""


def application(title: str, version: str) -> FastAPI:
    """An application whose OpenAPI is at /api/openapi.json; pages that load from elsewhere are off."""
    app = FastAPI(title=title, version=version, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)

    @app.exception_handler(ExpotionError)
    def wrong(_request: Request, error: ExpotionError) -> JSONResponse:
        status = 507 if isinstance(error, OutputError) else 400
        return JSONResponse({"problems": [str(problem) for problem in error.problems]}, status)

    @app.exception_handler(HTTPException)
    def refused(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"problems": [str(error.detail)]}, error.status_code)

    return app


def job_calls(jobs: Jobs) -> APIRouter:
    """Calls that show and stop jobs."""
    calls = APIRouter(prefix="/api/jobs", tags=["jobs"])

    def found(name: str) -> Shown:
        job = jobs.get(name)
        if job is None:
            raise HTTPException(404, f"job {name}: there is none of this name")
        return job

    @calls.get("")
    def list_jobs() -> list[Shown]:
        """Every job, the newest first."""
        return jobs.all()

    @calls.get("/events")
    async def events(request: Request) -> StreamingResponse:
        """Jobs as they change, as server-sent events; at first all of them. `gone` names what was deleted."""
        return StreamingResponse(_events(jobs, request), media_type="text/event-stream")

    @calls.get("/{name}")
    def show(name: str) -> Shown:
        """One job."""
        return found(name)

    @calls.post("/{name}/stop")
    def stop(name: str) -> Shown:
        """Ask a job to stop; what it has finished stays."""
        found(name)
        jobs.stop(name)
        return found(name)

    @calls.delete("/{name}")
    def forget(name: str) -> None:
        """Delete a job that has ended, and its files."""
        found(name)
        if not jobs.forget(name):
            raise HTTPException(409, f"job {name}: it has not ended; stop it first")

    return calls


async def _events(jobs: Jobs, request: Request) -> AsyncIterator[str]:
    known: dict[str, str] = {}
    quiet = 0
    yield "retry: 1000\n\n"
    while jobs.told and not await request.is_disconnected():
        now = jobs.texts()
        quiet += 1
        for name, text in now.items():
            if known.get(name) != text:
                quiet = 0
                yield f"event: job\ndata: {text}\n\n"
        for name in [*known]:
            if name not in now:
                quiet = 0
                yield f"event: gone\ndata: {json.dumps(name)}\n\n"
        known = now
        if quiet >= QUIET_TICKS:
            quiet = 0
            yield ": still here\n\n"
        await asyncio.sleep(TICK_S)
