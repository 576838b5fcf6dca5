"""What the studio announces as a plugin: a training callback that lets its page draw the curve while it grows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expotion.contracts import CallbackSpec, TrainingCallback, hookimpl
from expotion.files import write_text

CURVE, CURVE_CALLBACK = "curve.jsonl", "studio_curve"
SHOWN = ("step", "loss", "validation_loss", "baseline_loss")


class Curve(TrainingCallback):
    """Appends step and losses to curve.jsonl in the run folder."""

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Keep what was drawn before the step that a resumed run goes on from."""
        self._path = folder / CURVE
        before = [point for point in read_curve(self._path) if point["step"] < first_step]
        write_text(self._path, "".join(json.dumps(point) + "\n" for point in before))

    def on_step(self, record: Mapping[str, Any]) -> None:
        """Add a point."""
        point = {key: float(record[key]) for key in SHOWN if record.get(key) is not None}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")


def read_curve(path: Path) -> list[dict[str, float]]:
    """Points so far, each with `step` and `loss`, and where it was validated the other two of `SHOWN`.

    A line that is being written is left out.
    """
    points = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = json.loads(line)
            points.append({"step": float(found["step"]), "loss": float(found["loss"]), **found})
    return points


@hookimpl
def expotion_training_callbacks() -> list[CallbackSpec]:
    """The curve."""
    about = "appends step and losses to curve.jsonl in the run folder, for the studio's page"
    return [CallbackSpec(CURVE_CALLBACK, about, build=Curve)]
