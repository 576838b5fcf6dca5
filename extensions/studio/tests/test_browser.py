"""The rooms in a real browser, from start to end on the tiny model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG_MS = 180_000


@pytest.fixture
def opened(browser: Any, served: Any) -> Callable[..., Any]:
    """A page of the studio; what goes wrong in it, and what it asks of others, fails the test."""
    _, address = served

    def open_page(path: str = "", width: int = 1280, height: int = 900) -> Any:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda asked: (
                page.faults.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None
            ),
        )
        page.goto(address + path)
        page.wait_for_selector("main h1")
        return page

    return open_page


def _until(page: Any, condition: str, seconds: float = 60.0) -> None:
    """Until an expression is true; the page's policy lets Playwright's own way not evaluate any."""
    until = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < until, condition
        page.wait_for_timeout(50)


def test_compose_from_a_file_to_a_kept_take(opened: Any, clip: Path) -> None:
    page = opened()
    _until(page, "document.querySelector('textarea').value !== ''")
    page.set_input_files("input[type=file]", clip)
    page.wait_for_selector(".lanes-of .track", timeout=LONG_MS)
    assert page.locator(".lanes-of h3").all_inner_texts() == ["face face_marlin", "motion motion_synchformer"]
    # by keyboard: a second point of the face's strength, pulled down
    page.locator(".handles button").first.focus()
    for key in ("Enter", *["ArrowDown"] * 4):
        page.keyboard.press(key)
    text = page.locator(".strength-box input").first.input_value()
    assert text == "0:1,0.75:0.8"
    page.fill("textarea", "calm marimba with zither")
    assert "zither" in page.locator("form .hint").first.inner_text()
    page.fill("input[name=samples]", "2")
    page.get_by_role("button", name="Make music").press("Enter")
    page.wait_for_selector(".take", timeout=LONG_MS)
    assert page.locator(".take").count() == 2
    page.locator(".take").nth(1).get_by_role("button", name="Keep").click()
    page.wait_for_selector(".take.kept")
    page.locator("input[name=heard]").first.check()
    _until(page, "document.querySelector('audio').currentTime > 0.3")
    page.reload()
    page.wait_for_selector(".take.kept")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.faults == []


def test_a_clip_from_the_camera(opened: Any) -> None:
    page = opened(width=390, height=800)
    page.get_by_role("button", name="record one").click()
    page.get_by_role("button", name="Record", exact=True).click()
    _until(page, "parseFloat(document.querySelector('.camera output').textContent) > 1.2")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".chosen option", state="attached", timeout=LONG_MS)
    assert "recording.webm" in page.locator(".chosen option").first.inner_text()
    assert page.faults == []
