"""The curve of a training run in a terminal: smoothed training loss, validation loss, loss without controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MARKS = (
    ("loss", "·", "training"),
    ("baseline_loss", "-", "without controls"),
    ("validation_loss", "●", "validation"),
)
SMOOTHING = 0.1
"""Share of the width over which the training loss is averaged."""


def curve_lines(records: Sequence[Mapping[str, Any]], *, width: int = 70, height: int = 10) -> list[str]:
    """Lines of text: a chart of `width` x `height` characters with its axes; [] where there are under 3 steps."""
    if len(records) < 3:
        return []
    series = {}
    for key, _, _ in MARKS:
        points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
        points = [(x, y) for x, y in points if np.isfinite(y)]
        if points:
            x, y = (np.asarray(values, dtype=np.float64) for values in zip(*points, strict=True))
            series[key] = (x, _smooth(y) if key == "loss" else y)
    values = np.concatenate([y for _, y in series.values()])
    low, high = float(values.min()), float(np.percentile(values, 99))
    span = max(high - low, 1e-9)
    first, last = records[0]["step"], max(records[-1]["step"], records[0]["step"] + 1)
    grid = [[" "] * width for _ in range(height)]
    for key, mark, _ in MARKS:
        for x, y in zip(*series.get(key, ((), ())), strict=True):
            column = round((x - first) / (last - first) * (width - 1))
            row = round((high - min(y, high)) / span * (height - 1))
            grid[row][column] = mark
    labels = {0: f"{high:.3f}", height - 1: f"{low:.3f}"}
    lines = [f"{labels.get(row, ''):>7} |{''.join(cells).rstrip()}" for row, cells in enumerate(grid)]
    lines.append(f"{'':>7} +{'-' * width}")
    lines.append(f"{'step':>7}  {first:<{width - 10}}{last:>10}")
    legend = "   ".join(
        f"{mark} {name} {series[key][1][-1]:.3f}" for key, mark, name in MARKS if key in series
    )
    return [*lines, f"{'':>9}{legend}"]


def _smooth(y: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean over the steps before, as many as SMOOTHING of the run."""
    n = max(1, round(SMOOTHING * len(y)))
    total = np.cumsum(np.concatenate([np.zeros(1), y]))
    ends = np.arange(1, len(y) + 1)
    starts = np.maximum(0, ends - n)
    means: np.ndarray[Any, np.dtype[np.float64]] = (total[ends] - total[starts]) / (ends - starts)
    return means
