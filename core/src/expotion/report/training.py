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
    smooth = _smoothed(loss)
    curves = [
        (step, loss, "c0 faint", ""),
        (step, smooth, "c0", f"training, smoothed ({smooth[-1]:.3f} at the end)"),
    ]
    last = max(step[-1], *(x[-1] for x, _ in tried.values() if len(x)), 1.0)
    summary = f"Training loss from {loss[0]:.3f} to {smooth[-1]:.3f} in {last:.0f} steps."
    for css, (label, (x, y)) in zip(("c1", "c2 dashed"), tried.items(), strict=True):
        if len(x):
            curves.append((x, y, f"{css} marked", f"{label} ({y[-1]:.3f})"))
            summary += f" {label.capitalize()} ends at {y[-1]:.3f}."
    return _chart("Loss", summary, curves, low, high, "cross-entropy")


def _learning_rate(history: TrainingHistory) -> plot.Chart | None:
    step, rate = _column(history.steps, "learning_rate")
    if len(step) < 2 or float(rate.max()) <= 0:
        return None
    top = float(rate.max()) * 1.06
    power = int(np.floor(np.log10(top)))
    summary = f"Learning rate of the projections, at most {float(rate.max()):.2g}."
    label = f"× 10{str(power).translate(_SUPERSCRIPT)}"
    scaled = plot.ticks(0.0, top / 10.0**power, 3)
    return _chart("Learning rate", summary, [(step, rate, "c3", "")], 0.0, top, label, scaled)


def _gates(history: TrainingHistory) -> plot.Chart | None:
    rows = [(float(row["step"]), np.asarray(row["gates"], dtype=np.float64)) for row in history.gates]
    if len(rows) < 2:
        return None
    step = np.asarray([place for place, _ in rows])
    gates = np.stack([values for _, values in rows])  # [steps, L]
    layers = list(history.layers) or list(range(gates.shape[1]))
    low, high = plot.span_of([gates.ravel(), np.zeros(1)])
    strongest = np.argsort(-np.abs(gates[-1]))[:MAX_GATE_LINES]
    curves = [
        (step, gates[:, i], f"c{rank}", f"layer {layers[i]}: {gates[-1, i]:+.3f}".replace("-", "−"))
        for rank, i in enumerate(sorted(strongest.tolist()))
    ]
    few = f", the {len(curves)} widest open of {gates.shape[1]}" if len(curves) < gates.shape[1] else ""
    summary = "Every gate starts at 0, where the music is the frozen model's own."
    return _chart(f"Gates{few}", summary, curves, low, high, "gate")


def _chart(
    title: str,
    summary: str,
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64], str, str]],
    low: float,
    high: float,
    y_label: str,
    y_ticks: list[plot.Tick] | None = None,
) -> plot.Chart:
    """Curves (steps [n], values [n], CSS class, label) between two values, over the steps from 0."""
    last = max(1.0, *(float(x[-1]) for x, _, _, _ in curves))
    lines = [
        plot.Line(plot.path(plot.thinned(x) / last, plot.unit(plot.thinned(y), low, high)), css, label)
        for x, y, css, label in curves
    ]
    y_ticks = plot.ticks(low, high) if y_ticks is None else y_ticks
    return plot.Chart(title, summary, lines, plot.ticks(0, last, 5), y_ticks, "step", y_label)


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
