"""A take through the room Record in Chromium, whose camera shows pictures at the times of the page's sound.

`film` is what `own_gestures.py` calls; Playwright and the system's browser are needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

CAMERA = Path(__file__).with_suffix(".js")


@contextmanager
def opened(pictures: bytes, delay_s: float, size: Any = None) -> Iterator[Any]:
    """A page of Chromium whose camera shows `pictures` (a take as the page would send it), `delay_s` late."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert chromium is not None, "Chromium is needed for the camera"
    with sync_playwright() as playwright:
        flags = ["--autoplay-policy=no-user-gesture-required", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport=size)
        page.add_init_script(CAMERA.read_text(encoding="utf-8").replace("DELAY", str(delay_s)))
        page.route("**/fake-camera", lambda route: route.fulfill(body=pictures))
        yield page
        browser.close()


def film(studio: str, song: str, performer: str, pictures: bytes, delay_s: float, seconds: float) -> str:
    """Calibrate, listen once, record; gives what the page says of the take. `pictures` are on the piece's clock."""
    with opened(pictures, delay_s) as page:
        page.set_default_timeout(1000 * (seconds * 4 + 240))
        page.goto(f"{studio}record")
        page.get_by_label("Performer").select_option(performer)
        page.get_by_role("button", name="Open the camera").click()
        page.get_by_role("button", name="Calibrate").click()
        page.get_by_text("ms are taken off").wait_for()
        told: str = page.get_by_text("ms are taken off").inner_text()
        page.get_by_label("Piece", exact=True).select_option(song)
        page.get_by_role("button", name="Listen once").click()
        page.evaluate("window.fake.mode = 'take'; window.fake.fresh = true")
        page.wait_for_selector(".steps button.main:not([disabled])")
        page.get_by_role("button", name="Record", exact=True).click()
        page.wait_for_selector("#said .notice")
        told += " " + page.locator("#said .notice span").inner_text()
    if "Kept:" not in told:
        raise RuntimeError(told)
    return told
