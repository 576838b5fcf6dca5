"""What a plugin adds to runs: callbacks told of training, and sections of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class TrainingCallback:
    """Told what happens in training; override what you need. What it raises is logged, and training goes on."""

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Training starts, or goes on, at a step; `folder` is the run's, `recipe` plain data."""

    def on_step(self, record: Mapping[str, Any]) -> None:
        """A step is done: `step`, `loss`, `learning_rate`, `gradient_norm`, `step_s`, `gates`; where it was
        validated also `validation_loss`, `baseline_loss`, `control_gain`."""

    def on_end(self, finished: bool) -> None:
        """Training is over; `finished` is false where it was stopped."""


@dataclass(frozen=True)
class CallbackSpec:
    """A training callback that a recipe can name in `train.callbacks`. `build()` imports what it needs."""

    name: str
    description: str
    build: Callable[[], TrainingCallback]


@dataclass(frozen=True)
class ReportSectionSpec:
    """A section of the report of runs whose recipe lists the plugin's distribution under `plugins`.

    `build()` returns a function from the run folder (the README in it says what is where) to HTML that stands on
    its own, inside the page: no scripts or styles from elsewhere. An empty string leaves the section out.
    """

    name: str
    title: str
    build: Callable[[], Callable[[Path], str]]
