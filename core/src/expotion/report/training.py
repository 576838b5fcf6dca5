"""Charts of a training run: loss and validation, learning rate, gates per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.report import plot
from expotion.report.data import TrainingHistory

MAX_GATE_LINES = 8
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def charts(history: TrainingHistory) -> list[plot.Chart]:
    """The charts that the history has values for."""
    found = [_loss(history), _learning_rate(history), _gates(history)]
    return [chart for chart in found if chart is not None]


def _loss(history: TrainingHistory) -> plot.Chart | None:
    step, loss = _column(history.steps, "loss")
    if len(step) < 2:
        return None
    tried = {
        label: _column(history.validation, key)
        for key, label in (("loss", "validation"), ("baseline_loss", "validation without prefix"))
    }
    # The first steps of a warm-up may tower over the rest; the range leaves their tips out.
    low, high = plot.span_of([np.clip(loss, None, np.percentile(loss, 99)), *(y for _, y in tried.values())])
    last = float(max(step[-1], *(x[-1] for x, _ in tried.values() if len(x)), 1.0))
    smooth = _smoothed(loss)
    lines = [
        plot.Line(_drawn(step, loss, last, low, high), "c0 faint"),
        plot.Line(
            _drawn(step, smooth, last, low, high), "c0", f"training, smoothed ({smooth[-1]:.3f} at the end)"
        ),
    ]
    summary = f"Training loss from {loss[0]:.3f} to {smooth[-1]:.3f} in {last:.0f} steps."
    for css, (label, (x, y)) in zip(("c1", "c2 dashed"), tried.items(), strict=True):
        if len(x):
            lines.append(plot.Line(_drawn(x, y, last, low, high), f"{css} marked", f"{label} ({y[-1]:.3f})"))
            summary += f" {label.capitalize()} ends at {y[-1]:.3f}."
    return plot.Chart(
        "Loss", summary, lines, plot.ticks(0, last, 5), plot.ticks(low, high), "step", "cross-entropy"
    )


def _learning_rate(history: TrainingHistory) -> plot.Chart | None:
    step, rate = _column(history.steps, "learning_rate")
    if len(step) < 2 or float(rate.max()) <= 0:
        return None
    last, top = float(max(step[-1], 1.0)), float(rate.max()) * 1.06
    line = plot.Line(_drawn(step, rate, last, 0.0, top), "c3")
    power = int(np.floor(np.log10(top)))
    scaled = plot.ticks(0.0, top / 10.0**power, 3)
    return plot.Chart(
        "Learning rate",
        f"Learning rate of the projections, at most {float(rate.max()):.2g}.",
        [line],
        plot.ticks(0, last, 5),
        scaled,
        "step",
        f"× 10{str(power).translate(_SUPERSCRIPT)}",
    )


def _gates(history: TrainingHistory) -> plot.Chart | None:
    rows = [(float(row["step"]), np.asarray(row["gates"], dtype=np.float64)) for row in history.gates]
    if len(rows) < 2:
        return None
    step = np.asarray([place for place, _ in rows])
    gates = np.stack([values for _, values in rows])  # [steps, L]
    layers = list(history.layers) or list(range(gates.shape[1]))
    low, high = plot.span_of([gates.ravel(), np.zeros(1)])
    last = float(max(step[-1], 1.0))
    strongest = np.argsort(-np.abs(gates[-1]))[:MAX_GATE_LINES]
    lines = [
        plot.Line(
            _drawn(step, gates[:, index], last, low, high),
            f"c{rank}",
            f"layer {layers[index]}: {gates[-1, index]:+.3f}".replace("-", "−"),
        )
        for rank, index in enumerate(sorted(strongest.tolist()))
    ]
    left_out = gates.shape[1] - len(lines)
    title = "Gates" if not left_out else f"Gates, the {len(lines)} widest open of {gates.shape[1]}"
    return plot.Chart(
        title,
        "Every gate starts at 0, where the music is the frozen model's own.",
        lines,
        plot.ticks(0, last, 5),
        plot.ticks(low, high),
        "step",
        "gate",
    )


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and finite values of the rows that have this key, both float64 [n]."""
    pairs = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]
    pairs = [pair for pair in pairs if np.isfinite(pair[1])]
    array = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a twelfth of the run, centred, cut at the ends."""
    half = max(1, len(values) // 24)
    total = np.concatenate([[0.0], np.cumsum(values)])
    start = np.maximum(np.arange(len(values)) - half, 0)
    stop = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return np.asarray((total[stop] - total[start]) / (stop - start), dtype=np.float64)


def _drawn(
    step: NDArray[np.float64], values: NDArray[np.float64], last: float, low: float, high: float
) -> str:
    return plot.path(plot.thinned(step) / last, plot.unit(plot.thinned(values), low, high))
