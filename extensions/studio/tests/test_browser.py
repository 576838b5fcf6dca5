"""The rooms in a real browser, from start to end on the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG_MS = 180_000


def test_compose_from_a_file_to_a_kept_take(opened: Any, clip: Path) -> None:
    screen = opened()
    page = screen.page
    screen.until("document.querySelector('textarea').value !== ''", 180)
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
    screen.until("document.querySelector('audio').currentTime > 0.3")
    page.reload()
    page.wait_for_selector(".take.kept")
    screen.until("document.querySelector('.lanes-of .track') !== null")
    screen.looked_at("compose")
    assert screen.faults == []


def test_a_clip_from_the_camera(opened: Any) -> None:
    screen = opened(width=390, height=800)
    page = screen.page
    page.get_by_role("button", name="record one").click()
    page.get_by_role("button", name="Record", exact=True).click()
    screen.until("parseFloat(document.querySelector('.camera output').textContent) > 1.2")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".chosen option", state="attached", timeout=LONG_MS)
    assert "recording.webm" in page.locator(".chosen option").first.inner_text()
    assert screen.faults == []
