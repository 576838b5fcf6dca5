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
    """Until an expression is true, which needs what it names to be there; the page's policy lets Playwright's own
    way not evaluate any."""
    until = time.monotonic() + seconds
    while not page.evaluate(f"() => {{ try {{ return {condition}; }} catch {{ return false; }} }}"):
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


def test_three_takes_of_three_pieces(opened: Any, served: Any) -> None:
    page = opened("record")
    page.set_default_timeout(60_000)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Seconds each").fill("2")
    page.get_by_role("button", name="Make them").click()
    _until(page, "document.querySelectorAll('.list audio').length === 3", 180)
    assert page.get_by_role("button", name="Record", exact=True).is_disabled()
    page.get_by_role("button", name="Agree", exact=True).click()
    _until(page, "document.querySelector('#said').textContent.includes('code')")
    page.get_by_label("A code, no name").fill("P1")
    page.get_by_role("button", name="Agree", exact=True).click()
    _until(page, "document.querySelector('#said').textContent.includes('tick the box')")
    page.get_by_label("I have read this and agree.").check()
    page.get_by_role("button", name="Agree", exact=True).click()
    _until(page, "document.querySelector('[aria-label=Performer]').value === 'P1'")
    page.get_by_role("button", name="Open the camera").click()
    for number in range(3):
        page.get_by_label("Piece", exact=True).select_option(index=number)
        page.get_by_role("button", name="Listen once").click()
        record = page.get_by_role("button", name="Record", exact=True)
        _until(page, "!document.querySelector('.main').disabled", 30)
        record.click()
        _until(page, f"document.querySelectorAll('.list video').length === {number + 1}", 120)
        assert "Kept:" in page.locator("#said").inner_text()
    page.get_by_role("button", name="Write the manifest").click()
    _until(page, "document.body.textContent.includes('The manifest holds 3 clips, 3 songs, 1 performers')", 120)
    _narrow(page)
    page.get_by_role("button", name="Delete Piece 2 by P1").click()
    _until(page, "document.querySelectorAll('.list video').length === 2")
    assert [fault for fault in page.faults if "400" not in fault] == []  # those were refused above
    assert len(served[0].shelf.all_recordings()) == 2


def _narrow(page: Any) -> None:
    """As on a phone nothing is wider than the screen."""
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})


FAKE_CAMERA = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = document.createElement('canvas'); canvas.width = 160; canvas.height = 120;
  const g = canvas.getContext('2d');
  const draw = () => {
    const { context, starts } = window.played ?? { starts: [] };
    let lit = false;
    if (context) {
      const stamp = context.getOutputTimestamp();
      const now = stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000 - window.fake.delay;
      lit = starts.some((when) => now >= when && now < when + .12);
    }
    g.fillStyle = lit ? '#fff' : '#111'; g.fillRect(0, 0, 160, 120);
  };
  const stream = canvas.captureStream(0);
  setInterval(() => { draw(); stream.getVideoTracks()[0].requestFrame(); }, 1000 / window.fake.fps);
  return stream;
};
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (when, ...rest) {
  window.played ??= { context: this.context, starts: [] };
  window.played.starts.push(when);
  return start.call(this, when, ...rest);
};
"""
CALIBRATE = """async ([delay, fps, count]) => {
  window.fake = { delay, fps }; window.played = undefined;
  const { eye, calibrate } = await import('/static/clock.js');
  const context = new AudioContext(); await context.resume();
  const video = document.createElement('video'), screen = document.createElement('div');
  document.body.append(video);
  const camera = await eye(context, video);
  const found = await calibrate(context, camera, screen, count);
  camera.close(); await context.close(); video.remove();
  return found;
}"""


@pytest.mark.parametrize("fps", [30, 15])
def test_the_offset_between_sound_and_picture_is_measured(browser: Any, served: Any, fps: int) -> None:
    page = browser.new_page()
    page.add_init_script(FAKE_CAMERA)
    page.goto(served[1])
    found = {delay: page.evaluate(CALIBRATE, [delay, fps, 20]) for delay in (0.0, 0.08, 0.25)}
    measured = {delay: one["delay_s"] for delay, one in found.items()}
    print(fps, measured)
    assert measured[0.08] - measured[0.0] == pytest.approx(0.08, abs=0.01)
    assert measured[0.25] - measured[0.0] == pytest.approx(0.25, abs=0.01)
