"""The matrix's page: what the template needs, gathered from the rows and the cells' folders."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from expotion.contracts import Clip, Scored
from expotion.errors import MediaError, RunFolderError
from expotion.evaluation.beats import track_beats
from expotion.evaluation.controls import GROUND_TRUTH, SILENCE
from expotion.evaluation.table import RowScores
from expotion.evaluation.table_files import method_note, size_note
from expotion.pipeline.matrix_folder import MatrixFolder
from expotion.pipeline.matrix_rows import Sounds
from expotion.pipeline.report_stage import write_clip_video
from expotion.pipeline.run_folder import RunFolder
from expotion.recipe.matrix import Matrix
from expotion.report import ReportData, RunInfo, Sample, Sound
from expotion.report.table import PageInfo, metric_infos, title_of, write_table_page


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
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    return PageInfo(
        command=str(folder.state["command"]),
        created=str(folder.state["created"]),
        facts=facts,
        failures=folder.failures(),
        seconds=seconds,
        runs=runs,
        recipe_yaml=yaml.safe_dump(dict(matrix.plain), sort_keys=False, allow_unicode=True, width=110),
        method=[size_note(table), method_note(table).replace("In brackets", "Below each value")],
        controls=controls,
    )
