"""Writes the report: views from data, one template, one file."""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from expotion.files import write_text
from expotion.report import results, wording
from expotion.report.data import ReportData, ReportInfo
from expotion.report.samples import SampleView, sample_view

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_SAMPLES = 6
MAX_BYTES = 25_000_000
_TEXT_BYTES = 2_000_000  # room kept for everything that is not media


def write_report(
    path: Path, data: ReportData, *, max_samples: int = MAX_SAMPLES, max_bytes: int = MAX_BYTES
) -> ReportInfo:
    """Write one self-contained HTML file, whole or not at all, and say what had to be left out.

    At most `max_samples` samples get players, fewer where their media would not fit in `max_bytes`. The file
    makes no request: sounds, pictures, style and script are inside. Raises MediaError where it cannot be
    written.
    """
    views, notes = players(data, max_samples, max_bytes - _TEXT_BYTES)
    html = render(data, views, notes)
    write_text(path, html)
    return ReportInfo(path, path.stat().st_size, tuple(notes))


def render(data: ReportData, views: list[SampleView], notes: list[str]) -> str:
    """The page as text."""
    templates = environment()
    folder = files("expotion.report") / "templates"
    seconds = data.run.stage_seconds
    slowest = max([*seconds.values(), 1e-9])
    return templates.get_template("report.html").render(
        run=data.run,
        main=wording.condition_label(data.main) if data.main else "",
        style=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
        statements=wording.statements(data),
        metrics=[(wording.metric_label(info), info) for info in data.metric_info],
        table=results.result_table(data),
        row_notes=wording.row_notes(data.metrics),
        no_value=data.no_value,
        strips=results.strips(data),
        differences=results.difference_rows(data),
        clip_tables=results.clip_tables(data),
        charts=results.charts(data.training) if data.training else [],
        samples=views,
        extra=data.extra,
        notes=notes,
        stages=[(name, duration(taken), 100 * taken / slowest) for name, taken in seconds.items()],
        total=duration(sum(seconds.values())),
    )


def duration(seconds: float) -> str:
    """`48 s` or `2 min 05 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def players(data: ReportData, most: int, room: int) -> tuple[list[SampleView], list[str]]:
    """Players of the first `most` samples, as many as fit in `room` bytes, and notes on what was left out."""
    views: list[SampleView] = []
    notes: list[str] = []
    for sample in data.samples[:most]:
        view, note = sample_view(data, sample)
        if note:
            notes.append(note)
        if view.n_bytes > room:
            notes.append(f"{sample.id}: left out, its media would make this file too large")
            continue
        room -= view.n_bytes
        views.append(view)
    return views, notes


@functools.cache
def environment(*packages: str) -> Environment:
    """The templates of this package and of others; values are escaped, missing ones are errors."""
    import jinja2  # noqa: PLC0415

    return jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, "templates") for package in ("expotion.report", *packages)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
