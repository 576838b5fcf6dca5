"""The matrix's page: what the template needs, gathered from the rows and the cells' folders."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

from expotion import machine
from expotion.contracts import Clip, Scored
from expotion.errors import MediaError, RunFolderError
from expotion.evaluate.beats import track_beats
from expotion.files import replacing
from expotion.matrix.declare import Matrix
from expotion.matrix.folder import MatrixFolder
from expotion.matrix.forms import method_note, size_note
from expotion.matrix.rows import GROUND_TRUTH, SILENCE, Sounds
from expotion.matrix.table import RowScores
from expotion.recipe.nodes import to_text
from expotion.report import RunInfo, Sample, Sound, results, wording
from expotion.report.data import MetricInfo, ReportData
from expotion.report.write import environment, players
from expotion.run.folder import RunFolder
from expotion.run.reporting import write_clip_video

# The page of a matrix: the table in the layout of a paper, plots, players side by side, published numbers.

MAX_MEDIA_BYTES = 40_000_000
_ROLES = {"system": "trained", "reference": "reference-row", "outside": "outside", "control": "reference"}


@dataclass(frozen=True)
class PageInfo:
    """What stands around the table: facts, failed cells, how long cells took, the resolved recipe."""

    command: str
    created: str
    facts: Mapping[str, str]
    failures: Mapping[str, str]
    seconds: Mapping[str, float]
    runs: Mapping[str, str]
    recipe_yaml: str
    method: Sequence[str]
    controls: frozenset[str] = frozenset()
    """Titles of the rows that are controls."""


@dataclass(frozen=True)
class Cell:
    """A cell of the table: value, interval, what it says, and what it is compared with."""

    mean: str
    interval: str
    verdict: str
    published: str
    title: str


@dataclass(frozen=True)
class Line:
    """A row of the table."""

    labels: list[str]
    role: str
    block: str
    cells: list[Cell]
    clips: str
    error: str
    run: str


def write_table_page(path: Path, table: Mapping[str, Any], data: ReportData, info: PageInfo) -> None:
    """Write one self-contained HTML file, atomically. `data` holds rows by their labels, for plots and players."""
    folder = files("expotion.report") / "templates"
    views, left_out = players(data, len(data.samples), MAX_MEDIA_BYTES)
    notes = [*table["notes"], *left_out]
    metrics = table["metrics"]
    html = (
        environment()
        .get_template("table.html")
        .render(
            table=table,
            info=info,
            style=(folder / "report.css").read_text(encoding="utf-8")
            + (folder / "table.css").read_text(encoding="utf-8"),
            script=(folder / "report.js").read_text(encoding="utf-8"),
            heads=list(table["columns"]) or ["row"],
            groups=groups_of(metrics),
            metrics=[(_label(metric), metric) for metric in metrics],
            lines=lines_of(table, info.runs),
            differences=difference_lines(table),
            shuffled=shuffled_lines(table),
            published=published_table(table),
            strips=_strips(data, info.controls),
            clip_tables=results.clip_tables(data),
            samples=views,
            notes=notes,
            method=info.method,
            total=sum(info.seconds.values()),
            slowest=max([*info.seconds.values(), 1e-9]),
        )
    )
    with replacing(path) as part:
        part.write_text(html, encoding="utf-8")


def _strips(data: ReportData, controls: frozenset[str]) -> list[results.Strip]:
    """Interval plots in which controls look like controls."""
    labels = {wording.condition_label(title) for title in controls}
    return [
        replace(strip, rows=[replace(r, role="control") if r.label in labels else r for r in strip.rows])
        for strip in results.strips(data)
    ]


def groups_of(metrics: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Heads over neighbouring metrics: (head, columns); empty where no metric has one."""
    merged = [(head, len(list(same))) for head, same in groupby(metric["group"] for metric in metrics)]
    return merged if any(head for head, _ in merged) else []


def lines_of(table: Mapping[str, Any], runs: Mapping[str, str]) -> list[Line]:
    """Rows of the table; a new block begins where the kind of row changes."""
    lines: list[Line] = []
    for row in table["rows"]:
        labels = [row["labels"].get(column, "") for column in table["columns"]] or [row["name"]]
        block = row["role"] if row["role"] in ("outside", "control") else "system"
        cells = [_cell(row["cells"][metric["name"]], metric) for metric in table["metrics"]]
        lines.append(
            Line(
                labels,
                _ROLES[row["role"]],
                block,
                cells,
                str(row["clips"]),
                row["error"] or "",
                runs.get(row["name"], ""),
            )
        )
    return lines


def difference_lines(table: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Each row minus the reference row, with intervals and corrected p-values."""
    return _paired(table, "difference")


def shuffled_lines(table: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Each row minus the same row with other clips' videos."""
    return _paired(table, "against_shuffled")


def _paired(table: Mapping[str, Any], key: str) -> list[tuple[str, list[str]]]:
    lines = []
    for row in table["rows"]:
        cells = []
        for metric in table["metrics"]:
            found = row["cells"][metric["name"]][key]
            text = wording.with_interval(found, MetricInfo.from_json(metric))
            if found is not None and found.get("p_holm") is not None:
                text += f", p\u00a0{_p(found['p_holm'])}"
            cells.append(text if found is not None else "")
        if any(cells):
            lines.append((title_of(table, row), cells))
    return lines


def title_of(table: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """A row in words: its labels joined."""
    labels = [row["labels"].get(column, "") for column in table["columns"]]
    return ", ".join(label for label in labels if label and label != "-") or str(row["name"])


def published_table(table: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(metrics, rows) of the numbers published elsewhere; rows that the matrix has too come first."""
    rows = table["published"]["rows"]
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    titles = {row["name"]: title_of(table, row) for row in table["rows"]}
    lines = [
        (titles.get(row, row), [f"{values[n]:g}" if n in values else "–" for n in names])
        for row, values in rows.items()
    ]
    return names, lines


def metric_infos(table: Mapping[str, Any]) -> list[MetricInfo]:
    """The table's metrics as the plots need them."""
    return [MetricInfo.from_json(metric) for metric in table["metrics"]]


def _label(metric: Mapping[str, Any]) -> str:
    return wording.metric_label(MetricInfo.from_json(metric))


def _cell(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> Cell:
    info = MetricInfo.from_json(metric)
    if cell["mean"] is None:
        return Cell("–", "", "", "", "not defined for these sounds")
    interval = wording.span(cell, info, " to ") if cell["ci_low"] is not None else ""
    parts = [f"{cell['n']} clips" + (f", {cell['n_seeds']} seeds" if cell["n_seeds"] > 1 else "")]
    if cell["difference"] is not None and cell["difference"].get("p_holm") is not None:
        difference = wording.with_interval(cell["difference"], info)
        parts.append(f"{difference} from the reference row, p {_p(cell['difference']['p_holm'])}")
    published = "" if cell["published"] is None else f"{cell['published']:g}"
    return Cell(
        wording.number(cell["mean"], info), interval, cell["verdict"] or "", published, "; ".join(parts)
    )


def _p(value: float) -> str:
    text = "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.0995 else f"= {value:.2f}"
    return text.replace(" ", "\u00a0")


def write_page(
    path: Path,
    matrix: Matrix,
    folder: MatrixFolder,
    table: Mapping[str, Any],
    scored: Sequence[RowScores],
    rows: Sequence[Sounds],
    clips: Sequence[Clip],
    progress: Any,
) -> None:
    """Write the page. Rows with several seeds are heard, and shown per clip, by their first seed."""
    titles = _titles(table)
    metrics = {
        titles[row["name"]]: {m["name"]: row["cells"][m["name"]] for m in table["metrics"]}
        for row in table["rows"]
    }
    per_clip = {titles[row.name]: row.seeds[0] if row.seeds else {} for row in scored}
    sounds = {titles[row.name]: row.seeds[0] for row in rows if row.seeds and row.name != SILENCE}
    chosen = list(clips[: matrix.spec.players])
    samples = []
    for index, clip in enumerate(chosen):
        progress(index, len(chosen), clip.id)
        samples.append(_sample(clip, sounds, folder.path / "media"))
    main = next((titles[row["name"]] for row in reversed(table["rows"]) if row["role"] == "system"), None)
    data = ReportData(
        run=RunInfo(matrix.name),
        metrics=metrics,
        comparisons={},
        per_clip=per_clip,
        metric_info=metric_infos(table),
        samples=samples,
        main_condition=main,
    )
    controls = frozenset(titles[row["name"]] for row in table["rows"] if row["role"] == "control")
    write_table_page(path, table, data, _info(matrix, folder, table, controls))


def _titles(table: Mapping[str, Any]) -> dict[str, str]:
    """Row -> what plots and players call it; controls keep the names that the report knows."""
    found: dict[str, str] = {}
    for row in table["rows"]:
        title = title_of(table, row)
        if row["name"] in (GROUND_TRUTH, "codec_ceiling"):
            title = row["name"]
        elif title in found.values():
            title = f"{title} ({row['name']})"
        found[row["name"]] = title
    return found


def _sample(clip: Clip, rows: Mapping[str, Sequence[Scored]], media: Path) -> Sample:
    """One clip with the sound of every row that has one."""
    sounds: dict[str, Sound] = {}
    for title, scored in rows.items():
        for one in scored:
            if one.clip.id == clip.id:
                rate_hz = one.sample_rate_hz
                sounds[title] = Sound(one.samples, rate_hz, track_beats(one.samples, rate_hz).beats_s)
    video = None
    if sounds:
        first = next(iter(sounds.values()))
        try:
            video = write_clip_video(clip, first.samples, first.sample_rate_hz, media / f"{clip.id}.mp4")
        except MediaError:  # the sounds can be heard without it
            video = None
    truth = clip.truth
    sample = Sample(
        id=clip.id,
        caption=clip.caption,
        duration_s=clip.duration_s,
        video=video,
        sounds=sounds,
        beats_true_s=None if truth is None else truth.beats_s,
        intensity_times_s=None if truth is None else truth.intensity_times_s,
        intensity=None if truth is None else truth.intensity,
    )
    clip.close()
    return sample


def _info(
    matrix: Matrix, folder: MatrixFolder, table: Mapping[str, Any], controls: frozenset[str]
) -> PageInfo:
    seconds = {"shared": float(folder.state["shared_seconds"])}
    for cell in matrix.cells:
        try:
            stages = RunFolder.open(folder.cell(cell.name)).stage_seconds
        except RunFolderError:
            continue
        seconds[cell.name] = sum(stages.values())
    runs = {
        row.name: f"cells/{row.cells[0]}/report.html"
        for row in matrix.rows
        if (folder.cell(row.cells[0]) / "report.html").exists()
    }
    facts = {
        "cells": f"{len(matrix.cells)}" + (f", {len(folder.failures())} failed" if folder.failures() else ""),
        "test clips": f"{table['clips']}, {table['duration_s'] / 60:.1f} min",
        "machine": f"{platform.system()} {platform.machine()}, {machine.cores()} cores",
    }
    return PageInfo(
        command=str(folder.state["command"]),
        created=str(folder.state["created"]),
        facts=facts,
        failures=folder.failures(),
        seconds=seconds,
        runs=runs,
        recipe_yaml=to_text(dict(matrix.plain)),
        method=[size_note(table), method_note(table).replace("In brackets", "Below each value")],
        controls=controls,
    )
