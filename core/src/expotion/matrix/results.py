"""The table of a matrix: controls and outside rows measured, all rows compared, results and page written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from expotion.contracts import MetricSpec
from expotion.errors import RunFolderError
from expotion.evaluate.evaluate import evaluate
from expotion.evaluate.outside import OutsideRow, outside_rows
from expotion.evaluate.sets import score_sets
from expotion.files import write_json
from expotion.matrix.declare import Matrix
from expotion.matrix.folder import MatrixFolder
from expotion.matrix.forms import FORMS, RESULTS, read_results, to_text, write_results
from expotion.matrix.page import write_page
from expotion.matrix.rows import Sounds, clips_of, rows_of
from expotion.matrix.table import RowScores, Settings, build_table
from expotion.plugins import Registry
from expotion.progress import stage_progress
from expotion.run.folder import RunFolder

TABLE_VERSION = 2
"""Raised when the same scores give another table."""
PAGE = "report.html"
PER_CLIP = "results_per_clip.json"


def write_table(matrix: Matrix, registry: Registry, folder: MatrixFolder, console: Console) -> None:
    """Write results.{json,csv,md,tex} and report.html unless they are those of these cells, and print the table."""
    specs = _specs(matrix, registry)
    clips = clips_of(matrix.cells[0].recipe, registry)
    outside = outside_rows(matrix.outside, clips)
    key = _key(matrix, folder, specs, outside)
    files = [folder.path / f"{RESULTS}{form}" for form in FORMS]
    if folder.state.get("table_key") == key and all(f.exists() for f in [*files, folder.path / PAGE]):
        console.print(to_text(read_results(folder.path)), highlight=False, markup=False, soft_wrap=True)
        _say_where(folder, console)
        return
    with stage_progress(console, "table") as progress:
        rows, notes = rows_of(matrix, registry, folder, clips, outside)
        scored, more = _scored(rows, specs, matrix.cells[0].recipe.seed, progress)
    published = matrix.spec.published
    table = build_table(
        scored,
        specs,
        Settings(
            reference=matrix.spec.reference_row,
            groups=matrix.spec.groups,
            published={} if published is None else published.rows,
            published_source="" if published is None else published.source,
            seed=matrix.cells[0].recipe.seed,
        ),
        name=matrix.name,
        description=matrix.description,
        durations_s={clip.id: clip.duration_s for clip in clips},
        notes=[*notes, *more],
    )
    write_json(folder.path / PER_CLIP, {row.name: list(row.seeds) for row in scored})
    with stage_progress(console, "report") as progress:
        write_page(folder.path / PAGE, matrix, folder, table, scored, rows, clips, progress)
    write_results(folder.path, table)
    folder.state["table_key"] = key
    folder.save()
    console.print(to_text(table), highlight=False, markup=False, soft_wrap=True)
    _say_where(folder, console)


def _say_where(folder: MatrixFolder, console: Console) -> None:
    names = ", ".join(f"{RESULTS}{form}" for form in FORMS)
    console.print(f"[dim]{names} in {escape(str(folder.path))}[/]", highlight=False, soft_wrap=True)


def _specs(matrix: Matrix, registry: Registry) -> list[MetricSpec]:
    """Every metric of any cell."""
    names = dict.fromkeys(name for cell in matrix.cells for name in cell.recipe.evaluate.metrics)
    return [registry.metric(name) for name in names]


def _key(matrix: Matrix, folder: MatrixFolder, specs: Sequence[MetricSpec], outside: Sequence[OutsideRow]) -> str:
    states = {}
    for cell in matrix.cells:
        try:
            stages = RunFolder.open(folder.cell(cell.name), cell.recipe).state["stages"]
        except RunFolderError:
            stages = {}
        entry = folder.state["cells"][cell.name]
        states[cell.name] = [entry["state"], entry.get("error"), stages.get("evaluation", {}).get("key")]
    parts = [
        TABLE_VERSION,
        matrix.name,
        matrix.description,
        states,
        [cell.recipe.content_hash for cell in matrix.cells],
        [(row.name, sorted(row.labels.items())) for row in matrix.rows],
        matrix.spec.model_dump(mode="json", exclude={"rows", "axes", "exclude"}),
        [f"{spec.name} {spec.measured_with()}" for spec in specs],
        [row.content_hash for row in outside],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


# ----------------------------------------------------------------------------------------------- scores


def _scored(
    rows: Sequence[Sounds], specs: Sequence[MetricSpec], seed: int, progress: Any
) -> tuple[list[RowScores], list[str]]:
    """Scores of every row: those that cells have are taken, the others made; sets are scored together."""
    over_clips = [spec for spec in specs if spec.over == "clip"]
    sounds = {f"{row.name}\n{i}": heard for row in rows for i, heard in enumerate(row.seeds)}
    kept = {
        f"{row.name}\n{i}": per_clip
        for row in rows
        for i, per_clip in enumerate(row.per_clip or ())
        if not any(_lacks(per_clip, spec) for spec in over_clips)
    }
    made = evaluate(
        {key: heard for key, heard in sounds.items() if key not in kept},
        over_clips,
        seed=seed,
        baselines=(),
        on_progress=lambda what, done, total: progress(done, total, what.partition("\n")[0]),
    )
    found = score_sets(sounds, [spec for spec in specs if spec.over == "set"])
    used = {spec.name: spec.measured_with() for spec in specs}  # stands with the metric already
    notes = [
        f"{metric}: {text}".replace("\n0", "").replace("\n", ", seed ")
        for noted in (made.notes, found.notes)
        for metric, texts in noted.items()
        for text in texts
        if text != used[metric]
    ]
    per_clip = made.per_clip | kept
    scored = []
    for row in rows:
        keys = [f"{row.name}\n{i}" for i in range(len(row.seeds))]
        measured, sets = [per_clip[key] for key in keys], [found.by_condition.get(key, {}) for key in keys]
        scored.append(RowScores(row.name, row.labels, row.role, measured, sets, row.control_of, row.error))
    return scored, notes


def _lacks(per_clip: Mapping[str, Mapping[str, Any]], spec: MetricSpec) -> bool:
    """Whether a cell was not measured with a metric (another cell names it)."""
    return any(spec.name not in row for row in per_clip.values())
