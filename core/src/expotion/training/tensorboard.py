"""Training curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expotion.contracts import TrainingCallback
from expotion.errors import PluginError, Problem

_SCALARS = (
    "loss",
    "learning_rate",
    "gradient_norm",
    "step_s",
    "validation_loss",
    "baseline_loss",
    "control_gain",
)


class TensorBoard(TrainingCallback):
    """Writes every number of a step, and the gates of all layers, below `tensorboard` in the run folder."""

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package
        except ImportError as error:
            fix = "install it: pip install 'expotion[tensorboard]'"
            raise PluginError(
                Problem("train.callbacks tensorboard", "tensorboard", str(error), fix)
            ) from error
        self._make = SummaryWriter
        self._writer: Any = None

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Open the log; a resumed run hides what was written after the step that it goes on from."""
        self._writer = self._make(str(folder / "tensorboard"), purge_step=first_step)

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a step."""
        step = int(record["step"])
        for name in _SCALARS:
            if name in record:
                self._writer.add_scalar(name, record[name], step)
        for layer, gate in enumerate(record.get("gates", ())):
            self._writer.add_scalar(f"gates/{layer}", gate, step)

    def on_end(self, finished: bool) -> None:
        """Close the log."""
        if self._writer is not None:
            self._writer.close()
