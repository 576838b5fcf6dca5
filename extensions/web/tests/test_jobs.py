"""Jobs: one at a time, told of, stopped, killed, held, and there again after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from expotion.files import write_json
from expotion_web import api
from expotion_web.jobs import MAX_STARTS, Job, Jobs, Shown

SOURCE = """
import os, pathlib, time
from expotion.errors import ExpotionError, Problem
def work(given, telling):
    folder = pathlib.Path(given["folder"])
    (folder / f"began_{given['name']}").write_text(str(os.getpid()))
    print("noise")
    telling.console.print("begun", given["name"])
    what = given.get("what")
    if what == "wrong":
        raise ExpotionError(Problem("clip", "a face", "none"))
    if what == "die":
        os.kill(os.getpid(), 9)
    for step in range(given.get("steps", 1)):
        telling.progress("count", step, given.get("steps", 1))
        (folder / f"step_{given['name']}").write_text(str(step))
        time.sleep(0.005)
    return {"pid": os.getpid()}
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    (tmp_path / "small_jobs.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Jobs(tmp_path / "jobs", {"work": "small_jobs:work"}) as running:
        yield running


def _until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def _ended(jobs: Jobs, job: Shown) -> Shown:
    _until(lambda: jobs.get(job.id).ended)
    found = jobs.get(job.id)
    assert found is not None
    return found


def test_one_after_the_other_with_what_they_say(jobs: Jobs, tmp_path: Path) -> None:
    first, second = (
        jobs.add("work", name, {"folder": str(tmp_path), "name": name, "what": what})
        for name, what in (("a", None), ("b", "wrong"))
    )
    assert jobs.get(second.id).state == "waiting"
    done, wrong = _ended(jobs, first), _ended(jobs, second)
    assert done.state == "done" and done.result["pid"] == int((tmp_path / "began_a").read_text())
    assert done.lines == ["begun a"] and "noise" in (jobs.files(first.id) / "log.txt").read_text()
    assert (wrong.state, wrong.problems) == ("failed", ["clip: a face, got none"])
    assert [job.title for job in jobs.all()] == ["b", "a"]
    assert jobs.forget(first.id) and not jobs.files(first.id).exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    "inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["a terminal", "a script's &"]
)
def test_stopped_held_and_killed(inherited: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    before = signal.signal(signal.SIGINT, inherited)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    jobs: Jobs = request.getfixturevalue("jobs")
    long = {"folder": str(tmp_path), "steps": 100_000}
    job = jobs.add("work", "long", {**long, "name": "a"})
    _until(lambda: jobs.get(job.id).done > 2)
    assert jobs.get(job.id).stage == "count" and jobs.get(job.id).left_s > 1
    assert not jobs.forget(job.id)
    with jobs.suspended():
        assert jobs.get(job.id).suspended
        time.sleep(0.02)
        stands = (tmp_path / "step_a").read_text()
        time.sleep(0.05)
        assert (tmp_path / "step_a").read_text() == stands
    assert not jobs.get(job.id).suspended
    _until(lambda: (tmp_path / "step_a").read_text() not in ("", stands))
    jobs.stop(job.id)
    assert _ended(jobs, job).state == "stopped"
    killed = _ended(jobs, jobs.add("work", "b", {"folder": str(tmp_path), "name": "b", "what": "die"}))
    assert killed.state == "failed" and "ended by signal 9" in killed.problems[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_restart_goes_on_with_what_ran_and_with_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small_jobs.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    folder, kinds = tmp_path / "jobs", {"work": "small_jobs:work"}
    with Jobs(folder, kinds) as first:
        running = first.add("work", "a", {"folder": str(tmp_path), "name": "a", "steps": 100_000})
        waiting = first.add("work", "b", {"folder": str(tmp_path), "name": "b"})
        _until(lambda: first.get(running.id).done > 1)
        child = int((tmp_path / "began_a").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(child, signal.SIGCONT)
    (tmp_path / "began_a").unlink()
    with Jobs(folder, kinds) as second:
        assert [job.title for job in second.all()] == ["b", "a"]
        _until((tmp_path / "began_a").exists)
        second.stop(running.id)
        assert _ended(second, waiting).state == "done"
    stuck = Job(id="c", kind="work", title="c", given={}, starts=MAX_STARTS, number=9)
    write_json(folder / "c" / "job.json", stuck.model_dump())
    with Jobs(folder, kinds) as third:
        assert "3 times it did not" in _ended(third, stuck).problems[0]


def test_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "TICK_S", 0.005)
    jobs = Jobs(tmp_path, {"work": "x:y"})
    job = jobs.add("work", "a", {})
    app = api.application("test", "1")
    app.include_router(api.job_calls(jobs))
    with TestClient(app) as client:
        assert client.get("/api/jobs").json()[0]["title"] == "a"
        assert client.get("/api/jobs/none").json() == {"problems": ["job none: there is none of this name"]}
        assert client.delete(f"/api/jobs/{job.id}").status_code == 409
        assert client.post(f"/api/jobs/{job.id}/stop").json()["state"] == "stopped"
        assert "/api/jobs/events" in client.get("/api/openapi.json").json()["paths"]
    said = asyncio.run(_first_events(jobs, job))
    assert said[1].startswith("event: job") and json.loads(said[1].partition("data: ")[2])["id"] == job.id
    assert said[2] == f'event: gone\ndata: "{job.id}"\n\n'


async def _first_events(jobs: Jobs, job: Shown) -> list[str]:
    class Here:
        async def is_disconnected(self) -> bool:
            return False

    events, said = api._events(jobs, Here()), []  # type: ignore[arg-type]
    async for text in events:
        said.append(text)
        if len(said) == 2:
            jobs.forget(job.id)
        if len(said) == 3:
            break
    return said
