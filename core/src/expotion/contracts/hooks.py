"""The hooks, each of which announces offers of one kind, and the offers that no file of their own describes.

Those are golden checks (reference numbers and what a plugin checks against them), and what a plugin adds to runs:
callbacks told of training, and sections of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pluggy
from numpy.typing import NDArray

from expotion.contracts.clips import CaptionerSpec, DataSourceSpec
from expotion.contracts.encoder import EncoderSpec
from expotion.contracts.engines import BackboneSpec, EngineSpec
from expotion.contracts.metrics import MetricSpec
from expotion.contracts.tasks import TaskSpec


class GoldenFile(Protocol):
    """Reference numbers (`NAME.json` and `NAME.npz`) as a check reads them.

    Reading an array marks it as used: an array that the JSON lists and no check uses is a failure. An array that
    is not there raises an `ExpotionError`, which the runner turns into a failure of that file.
    """

    @property
    def about(self) -> Mapping[str, Any]:
        """The JSON: sizes, seeds, notes. Sizes that a shape tells are better read from the shape."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Names of all arrays."""
        ...

    def array(self, name: str) -> NDArray[Any]:
        """One array, writable, a copy."""
        ...

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All arrays whose names begin with `prefix`, by the rest of the name."""
        ...

    def setting(self, *path: str) -> Any:
        """A value of the JSON by its keys from the outside in; an `ExpotionError` where it is not there."""
        ...

    def compare(
        self, quantity: str, got: Any, wanted: str | NDArray[Any], tolerance: float, *, relative: bool = False
    ) -> None:
        """Compare a result (array or tensor) with the array named `wanted` or given; note the largest deviation.

        Shapes must be equal and NaN must stand in the same places. Tolerance 0 asks for equality; `relative`
        divides by the largest absolute wanted value. Several comparisons of one quantity are one line.
        """
        ...


@dataclass(frozen=True)
class GoldenCheckSpec:
    """A kind of golden file and how to check one: `build()` imports what it needs and returns the check."""

    kind: str
    build: Callable[[], Callable[[GoldenFile], None]]
    description: str = ""

    @property
    def name(self) -> str:
        """The kind: the beginning of the files' names."""
        return self.kind


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


hookspec = pluggy.HookspecMarker("expotion")
hookimpl = pluggy.HookimplMarker("expotion")


@hookspec
def expotion_encoders() -> list[EncoderSpec]:
    """Encoders that this plugin offers."""
    return []


@hookspec
def expotion_backbones() -> list[BackboneSpec]:
    """Backbones that this plugin offers."""
    return []


@hookspec
def expotion_data_sources() -> list[DataSourceSpec]:
    """Data sources that this plugin offers."""
    return []


@hookspec
def expotion_metrics() -> list[MetricSpec]:
    """Metrics that this plugin offers."""
    return []


@hookspec
def expotion_captioners() -> list[CaptionerSpec]:
    """Captioners that this plugin offers."""
    return []


@hookspec
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Kinds of golden files that this plugin can check (`expotion verify`)."""
    return []


@hookspec
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Training callbacks that this plugin offers."""
    return []


@hookspec
def expotion_report_sections() -> list[ReportSectionSpec]:
    """Sections that this plugin adds to reports."""
    return []


@hookspec
def expotion_engines() -> list[EngineSpec]:
    """Engines that this plugin offers."""
    return []


@hookspec
def expotion_tasks() -> list[TaskSpec]:
    """Kinds of recipes that this plugin offers."""
    return []
