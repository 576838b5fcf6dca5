"""A folder of recipes, a registry that fits them, and stand-ins for the stages that the commands start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import expotion.plugins
from expotion.contracts import BackboneSpec, DataSourceSpec, EncoderSpec, MetricSpec, hookimpl
from expotion.plugins import Registry, discover

RECIPE = """\
name: wave
description: a hand that waves
data: {source: world}
backbone: {source: hf:facebook/musicgen-small}
text: {encoder: words}
conditions: [{name: hand, encoder: hands, rank: 2}]
train: {steps: 4}
evaluate: {metrics: [loudness]}
profiles: {best: {train: {steps: 40}}}
"""


def _never(*arguments: Any) -> Any:
    raise AssertionError("nothing is built here")


class World:
    """Three clips of ten seconds, two of them to train on."""

    def clips(self, split: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(duration_s=10.0)] * (2 if split == "train" else 1)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    module = ModuleType("a_plugin")
    offers: dict[str, list[Any]] = {
        "expotion_encoders": [
            EncoderSpec(
                "hands", "hands in video", frozenset({"video"}), _never, width=lambda o: 5, rate_hz=lambda o: 10.0
            ),
            EncoderSpec("words", "words", frozenset({"text"}), _never, width=lambda o: 8, feeds="cross_attention"),
        ],
        "expotion_data_sources": [DataSourceSpec("world", "a world", lambda options: World())],
        "expotion_backbones": [BackboneSpec("tiny", "a small one", _never)],
        "expotion_metrics": [MetricSpec("loudness", "dB", _never, higher_is_better=True)],
    }
    for hook, specs in offers.items():
        setattr(module, hook, hookimpl(lambda specs=specs: specs))

    class Point:
        name = "waves"
        dist = SimpleNamespace(name="expotion-waves", version="0.4")

        def load(self) -> ModuleType:
            return module

    class Broken(Point):
        name = "broken"
        dist = SimpleNamespace(name="expotion-broken", version="0.1")

        def load(self) -> ModuleType:
            raise ImportError("No module named 'mediapipe'")

    found = discover([Point(), Broken()], builtins=())
    monkeypatch.setattr(expotion.plugins, "discover", lambda: found)
    return found


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Path:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "wave.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Replaces a function of the pipeline; returns the list of the calls it gets."""

    def replace(module: str, function: str, answer: Callable[..., Any]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def called(**arguments: Any) -> Any:
            calls.append(arguments)
            return answer(**arguments)

        fake = ModuleType(module)
        setattr(fake, function, called)
        monkeypatch.setitem(sys.modules, module, fake)
        return calls

    return replace
