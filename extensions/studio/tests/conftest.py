"""A studio in this process, a clip of the world, and Chromium driven by Playwright where there is one."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
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
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream"]
        flags += ["--use-fake-device-for-media-stream", "--disable-gpu"]
        running = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


FOCUSED = """() => { const e = document.activeElement;
  if (!e || e === document.body) return ['', ''];
  const label = e.labels?.[0]?.cloneNode(true);
  for (const own of label?.querySelectorAll('input, select, textarea') ?? []) own.remove();
  const name = e.getAttribute('aria-label') || label?.textContent || e.textContent || '';
  return [e.tagName.toLowerCase(), name.trim()]; }"""
AXE = """() => axe.run().then(({ violations }) => violations.map((one) =>
  `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(' | ')}`))"""
PHONE = {"width": 360, "height": 740}


@dataclass
class Screen:
    """A page of the studio and its `faults`: errors in it, and what it asked of others."""

    page: Any
    faults: list[str] = field(default_factory=list)

    def until(self, condition: str, seconds: float = 60.0) -> None:
        """Until an expression is true, which needs what it names to be there; the page's policy lets Playwright's
        own way not evaluate any."""
        until = time.monotonic() + seconds
        while not self.page.evaluate(f"() => {{ try {{ return {condition}; }} catch {{ return false; }} }}"):
            assert time.monotonic() < until, f"{condition}; {self.said()}"
            self.page.wait_for_timeout(50)

    def said(self) -> str:
        """What the page has told last."""
        return str(self.page.locator("#said").inner_text())

    def reach(self, tag: str, name: str) -> None:
        """Go to an element by Tab alone, round and round for a minute, as a room may not have opened yet."""
        until = time.monotonic() + 60.0
        while self.page.evaluate(FOCUSED) != [tag, name]:
            assert time.monotonic() < until, f"no {tag} {name!r} is reached by Tab"
            self.page.keyboard.press("Tab")

    def press(self, name: str, key: str = "Enter", tag: str = "button") -> None:
        """Press something by keyboard."""
        self.reach(tag, name)
        self.page.keyboard.press(key)

    def write(self, name: str, text: str) -> None:
        """Fill a field by keyboard."""
        self.reach("input", name)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def looked_at(self, name: str) -> None:
        """The page is as wide as a phone on a phone, and axe-core finds nothing wrong with it, there and here.

        Pictures of both go to the folder that EXPOTION_SHOTS names.
        """
        wide = self.page.viewport_size
        for size, kind in ((PHONE, "phone"), (wide, "wide")):
            self.page.set_viewport_size(size)
            self.page.wait_for_timeout(100)
            if shots := os.environ.get("EXPOTION_SHOTS"):
                self.page.screenshot(path=f"{shots}/{name}-{kind}.png", full_page=True)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            self.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
            assert self.page.evaluate(AXE) == [], f"{name}, {kind}"


@pytest.fixture
def opened(browser: Any, served: tuple[Studio, str]) -> Callable[..., Screen]:
    """Opens a page of the studio."""
    _, address = served

    def open_page(path: str = "", width: int = 1280, height: int = 900) -> Screen:
        page = browser.new_page(viewport={"width": width, "height": height})
        screen = Screen(page)
        own = (address, "data:", "blob:")
        page.on("pageerror", lambda error: screen.faults.append(str(error)))
        page.on("console", lambda said: screen.faults.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: None if asked.url.startswith(own) else screen.faults.append(asked.url))
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(address + path)
        page.wait_for_selector("main h1")
        return screen

    return open_page
