"""The pages in a real browser: clicked and typed through from the first to the last, watched from outside."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from expotion_study.server import StudyServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240, func_only=True)]
NEXT = "form.gated button[type=submit]:not([name])"


def _open_browser(chromium: str, profile: Path) -> Any:
    path = Path(__file__).with_name("browser.py")
    spec = importlib.util.spec_from_file_location("study_browser", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Browser(chromium, profile)


def _send(browser: Any, selector: str = NEXT) -> None:
    browser.evaluate("window.stale = true")
    browser.click(selector)
    browser.wait_for("!window.stale")


def _listen(browser: Any) -> None:
    for index in range(browser.evaluate("document.querySelectorAll('[data-hear]').length")):
        player = f"document.querySelectorAll('[data-hear]')[{index}]"
        browser.evaluate(f"{player}.playbackRate = 4; {player}.play()")
        browser.wait_for(f"{player}.ended")


def _disabled(browser: Any) -> bool:
    return bool(browser.evaluate(f"document.querySelector('{NEXT}').disabled"))


def _begin(browser: Any, server: StudyServer) -> None:
    """To the first rating."""
    browser.open(server.address)
    browser.evaluate("document.querySelector('select').value = 'intermediate'")
    browser.click("form[action=join] button")
    assert browser.evaluate("document.querySelector('input[name=consent]').validity.valueMissing")
    assert server.answers.everybody() == []
    browser.click("input[name=consent]")
    _send(browser, "form[action=join] button")
    assert _disabled(browser)
    for token, place in server.study.screening.softest.items():
        browser.click(f'input[name="{token}"][value="{place}"]')
    assert _disabled(browser)  # answered, but not heard
    _listen(browser)
    _send(browser)


def test_a_session_in_a_browser(server: StudyServer, chromium: str, tmp_path: Path) -> None:
    with _open_browser(chromium, tmp_path / "profile") as browser:
        _begin(browser, server)
        kinds = []
        while browser.evaluate("document.querySelector('form.gated') !== null"):
            kinds.append(browser.evaluate("document.querySelector('form.gated').classList[1]"))
            if len(kinds) == 1:
                _listen(browser)
                assert _disabled(browser)  # heard, but not answered
            elif len(kinds) == 2:  # the arrow back leads to no answered page
                browser.evaluate("history.back()")
                browser.wait_for("document.querySelector('progress').value === 1")
            radios = "[...new Set([...document.querySelectorAll('[type=radio]')].map(i => i.name))]"
            for name in browser.evaluate(radios):
                browser.click(f'input[name="{name}"][value="{"left" if name == "preferred" else 4}"]')
            if len(kinds) == 2:
                player = "document.querySelector('[data-hear]')"
                browser.evaluate(f"{player}.currentTime = {player}.duration - 0.01; {player}.play()")
                browser.wait_for(f"{player}.ended")
                assert _disabled(browser)  # a jump to the end is not listening
            _listen(browser)
            _send(browser)
        assert kinds == [*["rating"] * 3, "attention", *["rating"] * 3, *["comparison"] * 3]
        assert "Thank you" in browser.evaluate("document.body.textContent")
        assert browser.errors == []
        outside = [url for url in browser.requests if not url.startswith((server.address, "data:", "about:"))]
        assert outside == []
    answers = server.answers.all()
    assert len(answers) == 10 and server.answers.everybody()[0].finished
    assert all(answer.response["heard"] >= 0.95 for answer in answers)
    assert {value for a in answers if a.kind == "rating" for value in a.response["ratings"].values()} == {4}


def test_by_keyboard_and_on_a_phone(server: StudyServer, chromium: str, tmp_path: Path) -> None:
    with _open_browser(chromium, tmp_path / "profile") as browser:
        browser.resize(360, 700, dark=True)
        _begin(browser, server)
        for width in (320, 360):
            browser.resize(width, 700, dark=True)
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        colours = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.resize(360, 700, dark=False)
        assert browser.evaluate("getComputedStyle(document.body).backgroundColor") != colours
        _listen(browser)
        browser.evaluate("document.querySelector('video').focus()")
        reached: list[str] = []
        for _ in range(40):  # Tab reaches every question once, and the arrows choose
            browser.press("Tab", 9)
            name = browser.evaluate("document.activeElement.name || ''")
            if name in server.study.criteria and name not in reached:
                reached.append(name)
                browser.press("ArrowRight", 39)
            if browser.evaluate(f"document.activeElement === document.querySelector('{NEXT}')"):
                break
        assert reached == list(server.study.criteria)
        assert browser.evaluate("document.activeElement.matches(':focus-visible')")
        browser.evaluate("window.stale = true")
        browser.press("Enter", 13, "\r")
        browser.wait_for("!window.stale")
        browser.open(server.address)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    assert [set(answer.response["ratings"].values()) for answer in server.answers.all()] == [{2}]
