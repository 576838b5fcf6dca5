"""Curves for trackers that speak the language of Weights & Biases: wandb itself and Trackio."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from expotion.contracts import TrainingCallback
from expotion.errors import PluginError, Problem

PROJECT = "expotion"


class Tracker(TrainingCallback):
    """Logs every number of a step. A resumed run goes on under the name that its folder gave it."""

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
        values = {
            name: value
            for name, value in record.items()
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        values |= {f"gates/{layer}": gate for layer, gate in enumerate(record.get("gates", ()))}
        self._package.log(values, step=int(record["step"]))

    def on_end(self, finished: bool) -> None:
        """Close the tracker's run."""
        self._package.finish()
