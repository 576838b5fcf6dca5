"""The room Train: recordings and controls to a run, its curve, its sounds, its report."""

from __future__ import annotations

import functools
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from expotion.errors import ExpotionError, Problem
from expotion_studio.hooks import CURVE, read_curve
from expotion_studio.shelf import RUN_NAME, Shelf
from expotion_web.jobs import Jobs, Shown
from expotion_web.limited import limited
from expotion_web.media import file_response

NAME = rf"^{RUN_NAME.pattern}$"
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; media-src data:; "
    "sandbox allow-scripts"
)
"""A report holds its own style and script, needs nothing else, and may not ask the studio for anything."""
SHOWN_POINTS = 400
OFFERED_FOR_S = 120.0
"""What lacks weights is looked for again after this long: they may have been pulled."""
PLANNING_S = 180


class Wanted(BaseModel):
    """A run as it is asked for. `controls`: encoder by name; `model`: one of `recipes.PROFILES`."""

    name: Annotated[str, Field(pattern=NAME)]
    recordings: Annotated[
        list[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]], Field(min_length=1, max_length=2000)
    ]
    controls: Annotated[dict[Annotated[str, Field(pattern=NAME)], str], Field(min_length=1, max_length=8)]
    model: Literal["tiny", "small", "medium", "large"] = "tiny"
    steps: Annotated[int, Field(ge=1, le=20_000)] = 200
    clip_s: Annotated[float, Field(ge=1, le=30)] = 10.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7


class Run(BaseModel):
    """A run as it stands: `samples` are (condition, clip), `note` says what its numbers are of."""

    name: str
    stages: dict[str, bool]
    note: str
    steps: int
    metrics: dict[str, Any]
    curve: list[dict[str, float]]
    samples: list[tuple[str, str]]
    recordings: int
    has_report: bool
    has_adaptor: bool
    has_study: bool


def train_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """Calls of the room."""
    calls = APIRouter(prefix="/api", tags=["train"])
    calls.include_router(made_calls(shelf, jobs))

    @functools.lru_cache(maxsize=1)
    def offered(_age: int) -> dict[str, Any]:
        return limited("expotion_studio.planning:offered", where="controls", time_s=PLANNING_S)

    @functools.lru_cache(maxsize=16)
    def planned(text: str, _age: int) -> dict[str, Any]:
        return limited("expotion_studio.planning:planned", text, where="plan", time_s=PLANNING_S)

    def plan_of(wanted: Wanted) -> dict[str, Any]:
        known = {one.id: one for one in shelf.all_recordings()}
        if lost := set(wanted.recordings) - known.keys():
            raise ExpotionError(Problem("recordings", "some that are here", ", ".join(sorted(lost))))
        chosen = [known[name] for name in dict.fromkeys(wanted.recordings)]
        takes = [[one.title, one.performer, one.duration_s] for one in chosen]
        return planned(json.dumps({**wanted.model_dump(), "takes": takes}), _age())

    @calls.get("/controls")
    def controls() -> dict[str, Any]:
        """Models and controls that can be trained, and what each control lacks here."""
        return offered(_age())

    @calls.post("/plan")
    def plan(wanted: Wanted) -> dict[str, Any]:
        """What a run will need and take: clips, pieces, trainable numbers, weights that lack, times."""
        return plan_of(wanted)

    @calls.post("/runs")
    def begin(wanted: Wanted) -> Shown:
        """Train. The run is that of the command line: a recipe and its run folder."""
        if lacks := plan_of(wanted)["lacks"]:
            problems = [Problem(f"run {wanted.name}", "what it needs here", lack) for lack in lacks]
            raise ExpotionError(problems)
        taken = any((shelf.runs / f"{wanted.name}{suffix}").exists() for suffix in ("", ".yaml"))
        if taken or _busy(jobs, wanted.name):
            raise ExpotionError(Problem(f"run {wanted.name}", "a name of its own", "there is one", "give another"))
        given = {**wanted.model_dump(), "root": str(shelf.root)}
        return jobs.add("train", f"train {wanted.name}", given, wanted.name)

    @calls.post("/runs/{name}/resume")
    def resume(name: str) -> Shown:
        """Go on with a run that was stopped or failed."""
        shelf.run_folder(name)
        if _busy(jobs, name):
            raise HTTPException(409, f"run {name}: it goes on already")
        return jobs.add("train", f"train {name}", {"name": name, "root": str(shelf.root)}, name)

    @calls.get("/runs")
    def runs() -> list[Run]:
        """Every run, the newest first."""
        found = sorted(shelf.runs.glob("*.yaml"), key=lambda path: -path.stat().st_mtime)
        return [state_of(shelf, path.stem) for path in found]

    return calls


def made_calls(shelf: Shelf, jobs: Jobs) -> APIRouter:
    """What a run has made, and its end."""
    calls = APIRouter()

    @calls.get("/runs/{name}/report")
    def report(name: str) -> Response:
        """The report of a run, as `recipe run` wrote it."""
        path = shelf.run_folder(name) / "report.html"
        if not path.is_file():
            raise HTTPException(404, f"run {name}: no report yet")
        return Response(
            path.read_bytes(), media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY}
        )

    @calls.get("/runs/{name}/samples/{number}")
    def sample(name: str, number: int, request: Request) -> Response:
        """A sound of a run, by its place in the list."""
        found = _sounds(shelf.run_folder(name))
        if not 0 <= number < len(found):
            raise HTTPException(404, f"run {name}: no such sound")
        return file_response(found[number], "audio/wav", request.headers.get("range"), "no-store")

    @calls.delete("/runs/{name}")
    def forget(name: str) -> None:
        """Delete a run, its adaptor and its listening study."""
        folder = shelf.run_folder(name)
        if _busy(jobs, name):
            raise HTTPException(409, f"run {name}: it goes on; stop it first")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(shelf.studies / name, ignore_errors=True)
        for suffix in (".recordings.json", ".jsonl", ".json", ".yaml"):
            (shelf.runs / f"{name}{suffix}").unlink(missing_ok=True)

    return calls


def state_of(shelf: Shelf, name: str) -> Run:
    """A run as its folder tells it."""
    folder = shelf.runs / name
    about, beside = _json(folder / "run.json", {}), _json(shelf.runs / f"{name}.json", {})
    curve = read_curve(folder / CURVE)
    validated = [point for point in curve if "validation_loss" in point]
    shown = curve[:: max(1, len(curve) // SHOWN_POINTS)]
    titles = {one.id: one.title for one in shelf.all_recordings()}
    return Run(
        name=name,
        stages={stage: bool(one.get("done")) for stage, one in about.get("stages", {}).items()},
        note=str(beside.get("note", "")),
        steps=int(beside.get("steps", 0)),
        metrics=_json(folder / "metrics.json", {}),
        curve=sorted([*shown, *(point for point in validated if point not in shown)], key=lambda one: one["step"]),
        samples=[(path.parent.name, _titled(path.stem, titles)) for path in _sounds(folder)],
        recordings=len(_json(shelf.runs / f"{name}.recordings.json", [])),
        has_report=(folder / "report.html").is_file(),
        has_adaptor=(folder / "adaptor" / "adaptor.json").is_file(),
        has_study=(shelf.studies / name).is_dir(),
    )


def _sounds(folder: Path) -> list[Path]:
    """Sounds of a run: those made while it trains, in their order, then those of the test."""
    return [*sorted(folder.glob("training_samples/*.wav")), *sorted(folder.glob("samples/*/*.wav"))]


def _titled(clip_id: str, titles: Mapping[str, str]) -> str:
    """A clip by the title of its piece, and where in it."""
    where = re.sub(r"^@([\d.]+)\+[\d.]+", lambda found: f" from {float(found[1]):g} s", clip_id[16:])
    return titles.get(clip_id[:16], clip_id[:16]) + where


def _age() -> int:
    return int(time.monotonic() // OFFERED_FOR_S)


def _busy(jobs: Jobs, name: str) -> bool:
    return any(job.kind in ("train", "study") and job.about == name and not job.ended for job in jobs.all())


def _json(path: Path, default: Any) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return default
    return found if isinstance(found, type(default)) else default
