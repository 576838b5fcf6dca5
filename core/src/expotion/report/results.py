"""Tables, interval plots and charts of training, as a template needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.evaluate.tables import counted
from expotion.report import plot, wording
from expotion.report.data import CONTROLS, PROBE, REFERENCES, MetricInfo, ReportData, TrainingHistory

MAX_GATE_LINES = 8
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Cell:
    """A cell of the result table; `strong` where its interval is clear of every control's."""

    mean: str
    interval: str
    strong: bool = False


@dataclass(frozen=True)
class TableRow:
    """A condition with its role: trained, control or reference."""

    label: str
    role: str
    cells: list[Cell]
    n: str


@dataclass(frozen=True)
class StripRow:
    """One condition in an interval plot: places in 0..1000 of the strip, and the values of single clips."""

    label: str
    role: str
    text: str
    whisker: str
    mean: str
    clips: str


@dataclass(frozen=True)
class Strip:
    """An interval plot: one row per condition; `band` spans the interval of text only."""

    title: str
    note: str
    rows: list[StripRow]
    ticks: list[plot.Tick]
    band: str


@dataclass(frozen=True)
class ClipTable:
    """Values of one metric: rows are clips, columns are conditions."""

    title: str
    conditions: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]


def role(condition: str) -> str:
    """What a condition is for."""
    bounds = condition in REFERENCES or condition.startswith(PROBE)
    return "control" if condition in CONTROLS else "reference" if bounds else "trained"


def result_table(data: ReportData) -> list[TableRow]:
    """Rows in the order of the run."""
    rows = []
    for condition, values in data.metrics.items():
        cells = []
        for info in data.metric_info:
            numbers = values.get(info.name)
            if numbers is None or numbers.get("mean") is None:
                cells.append(Cell("–", ""))
                continue
            strong = role(condition) == "trained" and wording.beats_controls(data.metrics, condition, info)
            interval = wording.span(numbers, info, " to ")
            cells.append(Cell(wording.number(numbers["mean"], info), interval, strong))
        n = counted([int(values[i.name]["n"] or 0) for i in data.metric_info if i.name in values], "–")
        rows.append(TableRow(wording.condition_label(condition), role(condition), cells, n))
    return rows


def strips(data: ReportData) -> list[Strip]:
    """One interval plot per metric that has any value."""
    found = []
    for info in data.metric_info:
        shown = {
            condition: values[info.name]
            for condition, values in data.metrics.items()
            if values.get(info.name, {}).get("mean") is not None
        }
        if shown:
            found.append(_strip(data, info, shown))
    return found


def clip_tables(data: ReportData) -> list[ClipTable]:
    """One table per metric with the value, or the reason for none, of every clip and condition."""
    conditions = list(data.per_clip)
    clip_ids = list(dict.fromkeys(clip_id for rows in data.per_clip.values() for clip_id in rows))
    tables = []
    for info in data.metric_info:
        if not any(info.name in row for rows in data.per_clip.values() for row in rows.values()):
            continue  # a metric over the set of clips
        rows = []
        for clip_id in clip_ids:
            cells = []
            for condition in conditions:
                entry = data.per_clip[condition].get(clip_id, {}).get(info.name, {})
                cells.append((wording.clip_number(entry.get("value"), info), str(entry.get("reason") or "")))
            rows.append((clip_id, cells))
        labels = [wording.condition_label(condition) for condition in conditions]
        tables.append(ClipTable(wording.metric_label(info), labels, rows))
    return tables


def difference_rows(data: ReportData) -> list[tuple[str, list[str]]]:
    """Paired differences of the trained conditions from each baseline."""
    rows = []
    for baseline, conditions in data.comparisons.items():
        for condition, values in conditions.items():
            if role(condition) != "trained":
                continue
            title = f"{wording.condition_label(condition)} − {wording.condition_label(baseline)}"
            cells = [wording.difference(values.get(info.name), info) for info in data.metric_info]
            rows.append((title, cells))
    return rows


def _strip(data: ReportData, info: MetricInfo, shown: Mapping[str, Mapping[str, Any]]) -> Strip:
    clips = {condition: _clip_values(data, condition, info.name) for condition in shown}
    ends = [float(numbers[end]) for numbers in shown.values() for end in ("ci_low", "ci_high")]
    every = np.concatenate([np.asarray(ends), *clips.values()])
    low, high = min(0.0, float(every.min())), max(1.0, float(every.max()))
    axis = plot.ticks(low, high)
    if info.fraction:
        axis = [plot.Tick(tick.at_pct, f"{100 * float(tick.text):.0f} %") for tick in axis]
        # Zeros and ones say nothing beside their mean.
        clips = {condition: np.zeros(0) for condition in shown}
    rows = []
    for condition, numbers in shown.items():
        mean, ci_low, ci_high = (float(numbers[key]) for key in ("mean", "ci_low", "ci_high"))
        places = plot.unit(np.asarray([ci_low, ci_high, mean]), low, high)
        rows.append(
            StripRow(
                label=wording.condition_label(condition),
                role=role(condition),
                text=wording.with_interval(numbers, info),
                whisker=f"M{places[0] * 1000:.1f} 50H{places[1] * 1000:.1f}",
                mean=f"M{places[2] * 1000:.1f} 50h0",
                clips="".join(f"M{x * 1000:.0f} 50h0" for x in plot.unit(clips[condition], low, high)),
            )
        )
    band = ""
    if "text_only" in shown:
        edges = np.asarray([float(shown["text_only"]["ci_low"]), float(shown["text_only"]["ci_high"])])
        left, right = plot.unit(edges, low, high) * 1000
        band = f"M{left:.1f} 0H{right:.1f}V100H{left:.1f}Z"
    unit = f", {info.unit}" if info.unit else ""
    better = "more is better" if info.higher_is_better else "less is better"
    title = f"{wording.metric_label(info)}{unit}"
    return Strip(title, f"{info.description}; {better}", rows, axis, band)


def _clip_values(data: ReportData, condition: str, metric: str) -> NDArray[np.float64]:
    rows = data.per_clip.get(condition, {}).values()
    values = [row.get(metric, {}).get("value") for row in rows]
    return np.asarray([value for value in values if value is not None], dtype=np.float64)


def charts(history: TrainingHistory) -> list[plot.Chart]:
    """Charts of loss and validation, learning rate and gates, as far as the history has values for them."""
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
