"""The page of a matrix: the table in the layout of a paper, plots, players side by side, published numbers."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from expotion import machine
from expotion.contracts import Clip, Scored
from expotion.errors import MediaError, RunFolderError
from expotion.evaluate.trackers import beats_of
from expotion.files import write_text
from expotion.matrix.declare import Matrix
from expotion.matrix.folder import MatrixFolder
from expotion.matrix.forms import groups_of, heads_of, labels_of, method_note, size_note
from expotion.matrix.rows import GROUND_TRUTH, SILENCE, Sounds
from expotion.matrix.table import RowScores
from expotion.recipe.nodes import to_text
from expotion.report import RunInfo, Sample, Sound, results, wording
from expotion.report.data import MetricInfo, ReportData
from expotion.report.write import environment, players
from expotion.run.folder import RunFolder
from expotion.run.reporting import write_clip_video

MAX_MEDIA_BYTES = 40_000_000
_ROLES = {"system": "trained", "reference": "reference-row", "outside": "outside", "control": "reference"}

Lines = list[tuple[str, list[str]]]
"""Rows of a small table: title, cells."""


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
    """Write one self-contained HTML file, atomically.

    Rows with several seeds are heard, and shown per clip, by their first seed.
    """
    titles = _titles(table)
    sounds = {titles[row.name]: row.seeds[0] for row in rows if row.seeds and row.name != SILENCE}
    chosen = list(clips[: matrix.spec.players])
    samples = []
    for index, clip in enumerate(chosen):
        progress(index, len(chosen), clip.id)
        samples.append(_sample(clip, sounds, folder.path / "media"))
    infos = [MetricInfo.from_json(metric) for metric in table["metrics"]]
    data = ReportData(
        run=RunInfo(matrix.name),
        metrics={
            titles[row["name"]]: {m["name"]: row["cells"][m["name"]] for m in table["metrics"]}
            for row in table["rows"]
        },
        comparisons={},
        per_clip={titles[row.name]: row.seeds[0] if row.seeds else {} for row in scored},
        metric_info=infos,
        samples=samples,
        main_condition=next(
            (titles[row["name"]] for row in reversed(table["rows"]) if row["role"] == "system"), None
        ),
    )
    templates = files("expotion.report") / "templates"
    style, table_style, script = (
        (templates / name).read_text(encoding="utf-8") for name in ("report.css", "table.css", "report.js")
    )
    views, left_out = players(data, len(samples), MAX_MEDIA_BYTES)
    groups, seconds, failures = groups_of(table), _seconds(matrix, folder), folder.failures()
    controls = {wording.condition_label(titles[r["name"]]) for r in table["rows"] if r["role"] == "control"}
    html = (
        environment()
        .get_template("table.html")
        .render(
            table=table,
            command=folder.state["command"],
            created=folder.state["created"],
            facts={
                "cells": f"{len(matrix.cells)}" + (f", {len(failures)} failed" if failures else ""),
                "test clips": f"{table['clips']}, {table['duration_s'] / 60:.1f} min",
                "machine": f"{platform.system()} {platform.machine()}, {machine.cores()} cores",
            },
            failures=failures,
            recipe_yaml=to_text(dict(matrix.plain)),
            style=style + table_style,
            script=script,
            heads=heads_of(table),
            groups=groups if any(head for head, _ in groups) else [],
            metrics=[(wording.metric_label(i), m) for i, m in zip(infos, table["metrics"], strict=True)],
            lines=_lines(table, infos, matrix, folder),
            differences=_paired(table, infos, "difference"),
            shuffled=_paired(table, infos, "against_shuffled"),
            published=_published(table),
            strips=[
                replace(s, rows=[replace(r, role="control") if r.label in controls else r for r in s.rows])
                for s in results.strips(data)
            ],
            clip_tables=results.clip_tables(data),
            samples=views,
            notes=[*table["notes"], *left_out],
            method=[
                *filter(None, [table.get("no_value", {})]),
                size_note(table),
                method_note(table).replace("In brackets", "Below each value"),
            ],
            seconds=seconds,
            total=sum(seconds.values()),
            slowest=max([*seconds.values(), 1e-9]),
        )
    )
    write_text(path, html)


def _lines(
    table: Mapping[str, Any], infos: Sequence[MetricInfo], matrix: Matrix, folder: MatrixFolder
) -> list[dict[str, Any]]:
    """Rows of the table, each with its first run's report; a new block begins where the kind of row changes."""
    runs = {
        row.name: report
        for row in matrix.rows
        if (folder.path / (report := f"cells/{row.cells[0]}/report.html")).exists()
    }
    return [
        {
            "labels": labels_of(row, table["columns"]),
            "role": _ROLES[row["role"]],
            "block": row["role"] if row["role"] in ("outside", "control") else "system",
            "cells": [_cell(row["cells"][info.name], info) for info in infos],
            "clips": row["clips"],
            "error": row["error"],
            "run": runs.get(row["name"]),
        }
        for row in table["rows"]
    ]


def _cell(cell: Mapping[str, Any], info: MetricInfo) -> dict[str, str]:
    """A cell of the table: value, interval, what it says, and what it is compared with."""
    if cell["mean"] is None:
        empty = {"interval": "", "verdict": "", "published": ""}
        return {"mean": "–", "title": "not defined for these sounds", **empty}
    parts = [f"{cell['n']} clips" + (f", {cell['n_seeds']} seeds" if cell["n_seeds"] > 1 else "")]
    if cell["difference"] is not None and cell["difference"].get("p_holm") is not None:
        parts.append(f"from the reference row {wording.difference(cell['difference'], info)}")
    return {
        "mean": wording.number(cell["mean"], info),
        "interval": wording.span(cell, info, " to ") if cell["ci_low"] is not None else "",
        "verdict": cell["verdict"] or "",
        "published": "" if cell["published"] is None else f"{cell['published']:g}",
        "title": "; ".join(parts),
    }


def _paired(table: Mapping[str, Any], infos: Sequence[MetricInfo], key: str) -> Lines:
    """Each row minus another one (`key` says which), with intervals and corrected p-values."""
    lines = []
    for row in table["rows"]:
        cells = []
        for info in infos:
            found = row["cells"][info.name][key]
            cells.append("" if found is None else wording.difference(found, info))
        if any(cells):
            lines.append((_title(table, row), cells))
    return lines


def _published(table: Mapping[str, Any]) -> tuple[list[str], Lines]:
    """(metrics, rows) of the numbers published elsewhere."""
    rows = table["published"]["rows"]
    names = list(dict.fromkeys(name for values in rows.values() for name in values))
    titles = {row["name"]: _title(table, row) for row in table["rows"]}
    return names, [
        (titles.get(row, row), [f"{values[n]:g}" if n in values else "–" for n in names])
        for row, values in rows.items()
    ]


def _seconds(matrix: Matrix, folder: MatrixFolder) -> dict[str, float]:
    """How long the shared stages and each cell took."""
    seconds = {"shared": float(folder.state["shared_seconds"])}
    for cell in matrix.cells:
        try:
            seconds[cell.name] = sum(RunFolder.open(folder.cell(cell.name)).stage_seconds.values())
        except RunFolderError:
            continue
    return seconds


def _title(table: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """A row in words: its labels joined."""
    labels = labels_of(row, table["columns"])
    return ", ".join(label for label in labels if label and label != "-") or str(row["name"])


def _titles(table: Mapping[str, Any]) -> dict[str, str]:
    """Row -> what plots and players call it; controls keep the names that the report knows."""
    found: dict[str, str] = {}
    for row in table["rows"]:
        title = _title(table, row)
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
                sounds[title] = Sound(one.samples, rate_hz, beats_of(one.samples, rate_hz).beats_s)
    video = None
    if sounds:
        first = next(iter(sounds.values()))
        try:
            video = write_clip_video(clip, first.samples, first.sample_rate_hz, media / f"{clip.id}.mp4")
        except MediaError:  # the sounds can be heard without it
            video = None
    sample = Sample.of(clip, video, sounds)
    clip.close()
    return sample
