"""A studio in this process, a clip of the world, and Chromium driven by Playwright where there is one."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from expotion.plugins import discover
from expotion_corpus.export import export_clip
from expotion_studio.adaptors import Adaptors
from expotion_studio.app import JOBS, access, studio
from expotion_studio.shelf import Shelf
from expotion_web.guard import Guard
from expotion_web.jobs import Jobs
from expotion_web.server import LOCAL, PageServer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HERE = frozenset({*LOCAL, "testserver"})


@dataclass
class Studio:
    """A studio's parts; `client` asks it without a socket."""

    shelf: Shelf
    jobs: Jobs
    app: Any
    client: TestClient


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of the conductor world."""
    spec = discover().data_source("conductor")
    source = spec.build(spec.options(train_clips=1, test_clips=1, clip_s=1.5))
    folder = tmp_path_factory.mktemp("world")
    export_clip((source.clips("test")[0], folder))
    return next(folder.glob("*.mp4"))


@pytest.fixture
def made(tmp_path: Path) -> Studio:
    """A studio whose jobs wait."""
    shelf = Shelf(tmp_path / "studio")
    jobs = Jobs(shelf.jobs, JOBS)
    app = Guard(studio(shelf, jobs, Adaptors(shelf.root / "runs", [])), access(HERE, None))
    return Studio(shelf, jobs, app, TestClient(app))


@pytest.fixture
def served(made: Studio) -> Iterator[tuple[Studio, str]]:
    """The same with its jobs at work, on a socket; and its address."""
    with made.jobs, PageServer(made.app, "127.0.0.1", 0, hang_up=made.jobs.hang_up) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield made, server.address
        server.shutdown()
        thread.join(10.0)


@pytest.fixture
def browser() -> Iterator[Any]:
    """Debian's Chromium; a test that needs it is skipped where there is none."""
    if CHROMIUM is None or sys.platform == "win32":
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream"]
        flags += ["--use-fake-device-for-media-stream", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()
