"""A take through the room Record in Chromium, whose camera shows pictures at the times of the page's sound.

`film` is what `own_gestures.py` calls; Playwright and the system's browser are needed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

CAMERA = Path(__file__).with_suffix(".js")


def film(studio: str, song: str, performer: str, pictures: bytes, delay_s: float, seconds: float) -> str:
    """Calibrate, listen once, record; gives what the page says of the take.

    `pictures` are a take as the page would send it, with times on the piece's clock; they are shown `delay_s` late.
    """
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert chromium is not None, "Chromium is needed for --camera"
    with sync_playwright() as playwright:
        flags = ["--autoplay-policy=no-user-gesture-required", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.set_default_timeout(1000 * (seconds * 4 + 240))
        page.add_init_script(CAMERA.read_text(encoding="utf-8").replace("DELAY", str(delay_s)))
        page.route("**/fake-camera", lambda route: route.fulfill(body=pictures))
        page.goto(f"{studio}record")
        page.get_by_label("Performer").select_option(performer)
        page.get_by_role("button", name="Open the camera").click()
        page.get_by_role("button", name="Calibrate").click()
        page.get_by_text("ms are taken off").wait_for()
        told: str = page.get_by_text("ms are taken off").inner_text()
        page.get_by_label("Piece", exact=True).select_option(song)
        page.get_by_role("button", name="Listen once").click()
        page.evaluate("window.fake.mode = 'take'; window.fake.fresh = true")
        record = page.get_by_role("button", name="Record", exact=True)
        page.wait_for_selector(".steps button.main:not([disabled])")
        record.click()
        page.wait_for_selector("#said .notice")
        told += " " + page.locator("#said .notice span").inner_text()
        browser.close()
    if "Kept:" not in told:
        raise RuntimeError(told)
    return told
