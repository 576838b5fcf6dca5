"""Curves as SVG path data, and the few numbers a chart needs beside them.

All plots share one box, 1000 wide and 100 high, stretched to the place they get (`preserveAspectRatio`
"none", strokes that do not scale). Text stands beside the SVG in HTML, so that it keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1000.0, 100.0
MAX_POINTS = 500


@dataclass(frozen=True)
class Tick:
    """A label at a place along an axis, in per cent from its start."""

    at_pct: float
    text: str


@dataclass(frozen=True)
class Line:
    """A curve: path data, CSS class (`c0`..`c7` choose a colour), and its entry in the legend."""

    d: str
    css: str
    label: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart with axes."""

    title: str
    summary: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    y_label: str


def path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Path data of a curve whose x and y [n] run from 0 to 1 (y upwards). NaN in y breaks the curve."""
    parts: list[str] = []
    pen_down = False
    for across, up in zip(x.tolist(), y.tolist(), strict=True):
        if not (math.isfinite(across) and math.isfinite(up)):
            pen_down = False
            continue
        parts.append(f"{'L' if pen_down else 'M'}{_short(across * WIDTH)} {_short((1 - up) * HEIGHT)}")
        pen_down = True
    return "".join(parts)


def area(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Path data of the area under a curve without gaps; '' for fewer than two points."""
    if len(x) < 2:
        return ""
    return f"{path(x, y)}L{_short(float(x[-1]) * WIDTH)} {HEIGHT:g}L{_short(float(x[0]) * WIDTH)} {HEIGHT:g}Z"


def bars(at: NDArray[np.float64], bottom: float, top: float) -> str:
    """Path data of upright strokes at places [n] from 0 to 1, between two heights from 0 to 1."""
    low, high = _short((1 - bottom) * HEIGHT), _short((1 - top) * HEIGHT)
    return "".join(f"M{_short(place * WIDTH)} {low}V{high}" for place in at.tolist() if 0 <= place <= 1)


def envelope(samples: NDArray[np.float32], n_bins: int = 400) -> str:
    """Path data of a waveform's outline, scaled to its own peak."""
    if not len(samples):
        return ""
    n_bins = min(n_bins, len(samples))
    edges = np.linspace(0, len(samples), n_bins + 1).astype(np.int64)[:-1]
    top = np.maximum.reduceat(samples, edges)
    bottom = np.minimum.reduceat(samples, edges)
    peak = max(float(np.abs(samples).max()), 1e-6)
    x = (np.arange(n_bins) + 0.5) / n_bins
    upper = path(x, 0.5 + 0.47 * np.maximum(top / peak, 0.01))
    lower = path(x[::-1], 0.5 + 0.47 * np.minimum(bottom / peak, -0.01)[::-1])
    return f"{upper}L{lower[1:]}Z"


def thinned(values: NDArray[np.float64], n_most: int = MAX_POINTS) -> NDArray[np.float64]:
    """Means of runs of neighbours along the first axis, so that at most about n_most rows are left."""
    run = max(1, math.ceil(len(values) / n_most))
    if run == 1:
        return values
    whole = len(values) // run * run
    return np.asarray(values[:whole].reshape(-1, run, *values.shape[1:]).mean(axis=1), dtype=np.float64)


def unit(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Values as 0..1 of a range, cut at its ends (NaN stays)."""
    return np.asarray(np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0), dtype=np.float64)


def ticks(low: float, high: float, n_about: int = 4) -> list[Tick]:
    """Round numbers within a range and where they stand."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / n_about))
    step *= next((factor for factor in (1, 2, 5, 10) if span / (step * factor) <= n_about), 10)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [
        Tick(100 * (index * step - low) / span, f"{index * step:.{digits}f}".replace("-", "−"))
        for index in range(first, last + 1)
    ]


def span_of(curves: Sequence[NDArray[np.float64]], pad: float = 0.06) -> tuple[float, float]:
    """The range that holds all finite values, a little wider; (0, 1) where there are none."""
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if len(curve)]
    if not finite:
        return 0.0, 1.0
    low = min(float(curve.min()) for curve in finite)
    high = max(float(curve.max()) for curve in finite)
    room = pad * (high - low) or max(abs(high), 1.0) * pad
    return low - room, high + room


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
