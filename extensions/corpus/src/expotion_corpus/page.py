"""A page to look through a corpus: players, captions, numbers, problems and histograms, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np

from expotion.files import replacing
from expotion.report.plot import Tick, ticks
from expotion.report.write import environment

SPLITS = ("train", "validation", "test", "none")
N_BINS = 20


@dataclass(frozen=True)
class CorpusClip:
    """A clip on the page. `source` is an address or data URI that a player opens, `still_uri` its picture.

    `facts` are (name, value) in words; `outline` is SVG path data of the waveform in a box of 1000 by 100.
    """

    id: str
    split: str
    duration_s: float
    caption: str | None = None
    problems: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    source: str = ""
    still_uri: str = ""
    outline: str = ""


@dataclass(frozen=True)
class Histogram:
    """Values by split; the page draws them as stacked bars."""

    title: str
    unit: str
    values: dict[str, list[float]]


@dataclass(frozen=True)
class Bar:
    """A part of a stacked bar, in a box of 1000 by 100."""

    x: float
    y: float
    width: float
    height: float
    split: str
    told: str


@dataclass(frozen=True)
class HistogramView:
    """A histogram as the template draws it."""

    title: str
    note: str
    bars: list[Bar]
    x_ticks: list[Tick]
    unit: str
    most: int


@dataclass(frozen=True)
class CorpusPage:
    """Everything on the page. `counts` are clips and seconds by split, `dropped` is (where, why)."""

    title: str
    facts: dict[str, str]
    counts: dict[str, tuple[int, float]]
    histograms: list[Histogram]
    clips: list[CorpusClip]
    problems: dict[str, int] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def write_corpus_page(path: Path, page: CorpusPage) -> None:
    """Write the page, whole or not at all."""
    html = render_corpus(page)
    with replacing(path) as draft:
        draft.write_text(html, encoding="utf-8")


def render_corpus(page: CorpusPage) -> str:
    """The page as text."""
    shared, own = (files(package) / "templates" for package in ("expotion.report", "expotion_corpus"))
    total = sum(count for count, _ in page.counts.values())
    return (
        environment("expotion_corpus")
        .get_template("corpus.html")
        .render(
            page=page,
            style=(shared / "report.css").read_text(encoding="utf-8")
            + (own / "corpus.css").read_text(encoding="utf-8"),
            script=(own / "corpus.js").read_text(encoding="utf-8"),
            shares=[
                (name, count, seconds, 100 * count / max(1, total))
                for name, (count, seconds) in page.counts.items()
            ],
            histograms=[view for one in page.histograms if (view := histogram_view(one)) is not None],
            colour={name: f"c{at}" for at, name in enumerate(SPLITS)},
        )
    )


def histogram_view(histogram: Histogram) -> HistogramView | None:
    """Stacked bars of the values by split; None where there are no values."""
    every = np.asarray([v for values in histogram.values.values() for v in values], dtype=np.float64)
    if not len(every):
        return None
    low, high = float(every.min()), float(every.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, N_BINS + 1)
    counts = {name: np.histogram(values, edges)[0] for name, values in histogram.values.items()}
    most = max(1, int(np.sum(list(counts.values()), axis=0).max()))
    bars = []
    width = 1000.0 / N_BINS
    for i in range(N_BINS):
        base = 100.0
        for name in _ordered(counts):
            n = int(counts[name][i])
            if n:
                height = 100.0 * n / most
                base -= height
                told = f"{n} {name}, {edges[i]:.3g} to {edges[i + 1]:.3g} {histogram.unit}"
                bars.append(Bar(i * width + 2, base, width - 4, height, name, told))
    note = f"median {np.median(every):.3g}, {every.min():.3g} to {every.max():.3g} {histogram.unit}"
    return HistogramView(histogram.title, note, bars, ticks(low, high), histogram.unit, most)


def _ordered(counts: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]) -> Sequence[str]:
    return [name for name in SPLITS if name in counts]
