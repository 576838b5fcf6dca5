"""Callbacks for wandb and Trackio, against a module that notes what it is told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from expotion.errors import PluginError
from expotion.train.callbacks import expotion_training_callbacks


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    calls: list[tuple[str, Any]] = []
    for name in ("wandb", "trackio"):
        module = ModuleType(name)
        module.init = lambda _name=name, **given: calls.append((f"{_name}.init", given))  # type: ignore[attr-defined]
        module.log = lambda values, step: calls.append(("log", (step, values)))  # type: ignore[attr-defined]
        module.finish = lambda: calls.append(("finish", None))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def build(name: str) -> Any:
    return next(spec for spec in expotion_training_callbacks() if spec.name == name).build()


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_run_is_opened_logged_and_closed(package: str, told: list[tuple[str, Any]], tmp_path: Path) -> None:
    tracker = build(package)
    tracker.on_start(tmp_path / "best", {"seed": 7}, 0)
    tracker.on_step({"step": 4, "loss": 1.5, "gates": [0.1, 0.2], "left_out": False, "note": "x"})
    tracker.on_end(True)
    assert [kind for kind, _ in told] == [f"{package}.init", "log", "finish"]
    opened = told[0][1]
    assert (opened["project"], opened["name"], opened["config"]) == ("expotion", "best", {"seed": 7})
    assert opened["resume"] == "allow"
    assert told[1][1] == (4, {"loss": 1.5, "gates/0": 0.1, "gates/1": 0.2})


def test_wandb_takes_up_the_run_of_the_same_folder(told: list[tuple[str, Any]], tmp_path: Path) -> None:
    for folder in ("a", "a", "b"):
        build("wandb").on_start(tmp_path / folder, {}, 0)
    ids = [given["id"] for _, given in told]
    assert ids[0] == ids[1] != ids[2]


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PluginError, match=r"train\.callbacks wandb.*pip install wandb"):
        build("wandb")
