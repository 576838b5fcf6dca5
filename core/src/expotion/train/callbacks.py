"""What core's training announces, through the same hook as any plugin: TensorBoard, wandb, Trackio."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from expotion.contracts import CallbackSpec, TrainingCallback, hookimpl
from expotion.errors import PluginError, Problem

PROJECT = "expotion"


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Every number of a step by name, the gates by layer."""
    numbers = {
        name: value
        for name, value in record.items()
        if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return numbers | {f"gates/{layer}": gate for layer, gate in enumerate(record.get("gates", ()))}


class TensorBoard(TrainingCallback):
    """Writes every number of a step, and the gates of all layers, below `tensorboard` in the run folder."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package
        except ImportError as error:
            fix = "install it: pip install 'expotion[tensorboard]'"
            raise PluginError(Problem("train.callbacks tensorboard", "tensorboard", str(error), fix)) from error
        self._make = SummaryWriter
        self._writer: Any = None

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Open the log; a resumed run hides what was written after the step that it goes on from."""
        self._writer = self._make(str(folder / "tensorboard"), purge_step=first_step)

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a step."""
        for name, value in _numbers(record).items():
            self._writer.add_scalar(name, value, int(record["step"]))

    def on_end(self, finished: bool) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()


class Tracker(TrainingCallback):
    """Logs every number of a step with wandb, or with Trackio, which speaks its language.

    A resumed run goes on under the name that its folder gave it.
    """

    def __init__(self, package: Literal["wandb", "trackio"]) -> None:
        try:
            self._package = importlib.import_module(package)
        except ImportError as error:
            fix = f"install it: pip install {package}"
            raise PluginError(Problem(f"train.callbacks {package}", package, str(error), fix)) from error
        self._with_id = package == "wandb"

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Start or take up the tracker's run of this folder."""
        place = str(folder.absolute())
        more: dict[str, Any] = {}
        if self._with_id:
            more = {"id": hashlib.sha256(place.encode()).hexdigest()[:16], "dir": place}
        self._package.init(project=PROJECT, name=folder.name, config=dict(recipe), resume="allow", **more)

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Log the numbers of a step, and the gates by layer."""
        self._package.log(_numbers(record), step=int(record["step"]))

    def on_end(self, finished: bool) -> None:
        """Close the tracker's run."""
        self._package.finish()


@hookimpl
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Callbacks that core brings along."""
    board = "curves for TensorBoard, in the run folder's `tensorboard`"
    wandb = "curves on Weights & Biases (project expotion); pip install wandb"
    trackio = "curves in Trackio (project expotion); pip install trackio"
    return [
        CallbackSpec("tensorboard", board, TensorBoard),
        CallbackSpec("wandb", wandb, partial(Tracker, "wandb")),
        CallbackSpec("trackio", trackio, partial(Tracker, "trackio")),
    ]
