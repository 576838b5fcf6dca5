"""What plugins add to a run: callbacks, report sections, captions. None of them can break it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expotion.contracts import CallbackSpec, CaptionerSpec, Clip, Options, ReportSectionSpec, TrainingCallback
from expotion.errors import ExpotionError, MediaError, PluginError, Problem
from expotion.plugins import Offer, Registry, discover
from expotion.recipe import Recipe
from expotion.run.captions import write_captions
from expotion.run.reporting import plugin_sections
from expotion.run.training import Callbacks
from expotion.testing import SyntheticClip


class Watcher(TrainingCallback):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        self.told.append(first_step)

    def on_step(self, record: Mapping[str, Any]) -> None:
        self.told.append(record["step"])

    def on_end(self, finished: bool) -> None:
        self.told.append(finished)


class Failing(Watcher):
    def on_step(self, record: Mapping[str, Any]) -> None:
        raise RuntimeError("no disk for curves")


def registry(kind: str, offers: dict[str, Offer[Any]]) -> Registry:
    installed = discover()
    return replace(installed, tables={**installed.tables, kind: offers})


def test_a_callback_that_fails_is_left_out(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    watcher, failing = Watcher(), Failing()
    callbacks = Callbacks({"failing": failing, "watcher": watcher})
    with caplog.at_level(logging.WARNING, "expotion"):
        callbacks.on_start(tmp_path, {}, 3)
        for step in (3, 4):
            callbacks.on_step({"step": step})
        callbacks.on_end(True)
    assert watcher.told == [3, 3, 4, True]
    assert failing.told == [3]
    assert caplog.text.count("callback failing is left out") == 1


def test_callbacks_are_built_by_name() -> None:
    offer = Offer(CallbackSpec("watch", "watches", Watcher), "some", "1")
    assert isinstance(Callbacks.of(["watch"], registry("training callback", {"watch": offer})), Callbacks)
    with pytest.raises(PluginError, match="training callback 'wach'"):
        Callbacks.of(["wach"], registry("training callback", {"watch": offer}))


def test_tensorboard_gets_every_step(tmp_path: Path) -> None:
    callbacks = Callbacks.of(["tensorboard"], discover())
    callbacks.on_start(tmp_path, {}, 0)
    for step in range(3):
        callbacks.on_step({"step": step, "loss": 2.0 - step, "gates": [0.1, 0.2]})
    callbacks.on_end(True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == [2.0, 1.0, 0.0]
    assert {"gates/0", "gates/1"} <= set(events.Tags()["scalars"])


def section(html: str | Exception) -> ReportSectionSpec:
    def write(folder: Path) -> str:
        if isinstance(html, Exception):
            raise html
        return html.format(folder=folder.name)

    return ReportSectionSpec("dance", "The dance", lambda: write)


@pytest.mark.parametrize(
    ("html", "plugins", "wanted"),
    [
        ("<p>{folder}</p>", ["expotion-dance>=1"], [("The dance", "<p>run</p>")]),
        ("<p>{folder}</p>", ["expotion-other"], []),
        ("  ", ["expotion-dance"], []),
        (ValueError("no data"), ["expotion_dance"], []),
    ],
)
def test_sections_of_the_recipes_plugins(
    html: str | Exception, plugins: list[str], wanted: list[tuple[str, str]], tmp_path: Path
) -> None:
    given = registry("report section", {"dance": Offer(section(html), "expotion-dance", "1.2")})
    assert plugin_sections(given, plugins, tmp_path / "run") == wanted


class Style(Options):
    style: str = "a piece of {seconds:g} s"


def captioner(options: Style) -> Any:
    def caption(clip: Clip) -> str:
        if clip.audio(16_000) is None:
            raise MediaError(Problem(clip.id, "sound", "none"))
        caption.calls += 1
        return options.style.format(seconds=clip.duration_s)

    caption.calls = 0
    return caption


def test_captions_are_written_once_and_kept(tmp_path: Path) -> None:
    built: list[Any] = []

    def build(options: Style) -> Any:
        built.append(captioner(options))
        return built[-1]

    spec = CaptionerSpec("plain", "length", build, Style)
    given = registry("captioner", {"plain": Offer(spec, "some", "1")})
    recipe = Recipe.from_dict({"name": "x", "data": {"source": "conductor"}, "text": {"captioner": "plain"}})
    path = tmp_path / "captions.json"
    for _ in range(2):
        clips = [
            SyntheticClip(1.0, id="a"),
            SyntheticClip(2.0, id="b"),
            SyntheticClip(1.5, id="c", with_audio=False),
        ]
        write_captions(recipe, given, clips, path, progress=lambda done, total: None)
        assert [clip.caption for clip in clips[:2]] == ["a piece of 1 s", "a piece of 2 s"]
        assert clips[2].caption == "warm strings over a steady drum"  # refused: its own stays
    assert sum(one.calls for one in built) == 2
    assert len(json.loads(path.read_text())) == 2


def test_an_unknown_captioner_is_an_error(tmp_path: Path) -> None:
    recipe = Recipe.from_dict({"name": "x", "data": {"source": "conductor"}, "text": {"captioner": "none"}})
    with pytest.raises(ExpotionError, match="captioner 'none'"):
        write_captions(recipe, discover(), [SyntheticClip()], tmp_path / "c", progress=lambda d, t: None)
