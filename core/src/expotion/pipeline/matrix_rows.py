"""The rows of a matrix's table as sounds: what the cells made, outside folders, and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expotion.contracts import Clip, Scored
from expotion.data.audio import load_audio
from expotion.evaluation.controls import SHUFFLED
from expotion.evaluation.files import load_evaluation
from expotion.evaluation.outside import OutsideRow
from expotion.pipeline.captions import write_captions
from expotion.pipeline.material import prompt_of
from expotion.pipeline.matrix_controls import control_sounds, sample_rate_of
from expotion.pipeline.matrix_folder import MatrixFolder
from expotion.pipeline.run_folder import RunFolder
from expotion.plugins import Registry
from expotion.recipe.matrix import Cell, Matrix

TITLES = {"ground_truth": "ground truth", "codec_ceiling": "codec round trip", "silence": "silence"}


@dataclass(frozen=True)
class Sounds:
    """A row before it is scored: one list of sounds per seed, and where each sound lies (for the page)."""

    name: str
    labels: Mapping[str, str]
    role: Any
    seeds: list[list[Scored]]
    control_of: str | None = None
    error: str | None = None
    per_clip: list[dict[str, Any]] | None = None


def rows_of(
    matrix: Matrix,
    registry: Registry,
    folder: MatrixFolder,
    clips: Sequence[Clip],
    outside: Sequence[OutsideRow],
) -> tuple[list[Sounds], list[str]]:
    """Systems in the order of the recipe, outside rows, then controls."""
    first = matrix.cells[0].recipe
    rate_hz = sample_rate_of(first, registry)
    own = {clip.id: clip.caption for clip in clips}
    systems: list[Sounds] = []
    shuffled: list[Sounds] = []
    notes: list[str] = []
    errors = folder.failures()
    columns = list(dict.fromkeys(column for row in matrix.rows for column in row.labels))
    for row in matrix.rows:
        cells = [matrix.cell(name) for name in row.cells]
        done = [
            cell
            for cell in cells
            if cell.name not in errors and (folder.cell(cell.name) / "metrics.json").exists()
        ]
        failed = [f"{cell.name} failed: {errors[cell.name]}" for cell in cells if cell.name in errors]
        labels = dict(row.labels) or {"row": row.name}
        _captions(done, registry, folder, clips, own)
        systems.append(
            _of_cells(row.name, labels, "system", done, folder, clips, rate_hz, "; ".join(failed) or None)
        )
        with_shuffled = [cell for cell in done if SHUFFLED in cell.recipe.evaluation_conditions()]
        if with_shuffled:
            head = next(iter(labels))
            told = {**labels, head: f"{labels[head]}, another clip’s video"}
            shuffled.append(
                _of_cells(
                    f"{row.name}/{SHUFFLED}", told, "control", with_shuffled, folder, clips, rate_hz, None
                )
            )
    prompts = matrix.cell(_row_cells(matrix)[0]).recipe
    _captions([matrix.cell(_row_cells(matrix)[0])], registry, folder, clips, own)
    head = columns[0] if columns else "row"
    others = []
    for made in outside:
        others.append(
            Sounds(
                made.name,
                {head: made.name},
                "outside",
                [made.scored(rate_hz, lambda c: prompt_of(prompts, c))],
            )
        )
        notes += made.notes
    controls = [
        Sounds(name, {head: TITLES[name]}, "control", [sounds])
        for name, sounds in control_sounds(
            matrix.spec.controls, prompts, registry, clips, folder.path / "controls", rate_hz
        ).items()
    ]
    return [*systems, *others, *shuffled, *controls], notes


def _row_cells(matrix: Matrix) -> tuple[str, ...]:
    """Cells of the reference row, whose prompts count for rows without prompts of their own."""
    by_name = {row.name: row.cells for row in matrix.rows}
    return by_name.get(matrix.reference_row or "", matrix.rows[0].cells)


def _of_cells(
    name: str,
    labels: Mapping[str, str],
    role: str,
    cells: Sequence[Cell],
    folder: MatrixFolder,
    clips: Sequence[Clip],
    rate_hz: int,
    error: str | None,
) -> Sounds:
    seeds, per_clip = [], []
    for cell in cells:
        condition = SHUFFLED if role == "control" else cell.recipe.joint_name or "text_only"
        run = RunFolder.open(folder.cell(cell.name))
        per_clip.append(load_evaluation(run.path).per_clip.get(condition, {}))
        sounds = []
        for clip in clips:
            path = run.sample(condition, clip.id)
            samples = load_audio(path, rate_hz) if path.exists() else None
            if samples is not None:
                sounds.append(Scored(samples, rate_hz, clip, prompt_of(cell.recipe, clip)))
        seeds.append(sounds)
    control_of = name.removesuffix(f"/{SHUFFLED}") if role == "control" else None
    return Sounds(name, labels, role, seeds, control_of, error, per_clip)


def _captions(
    cells: Sequence[Cell],
    registry: Registry,
    folder: MatrixFolder,
    clips: Sequence[Clip],
    own: Mapping[str, str | None],
) -> None:
    """The clips' captions as the cells had them: those that the captioner wrote, else the data's own."""
    for clip in clips:
        clip.caption = own[clip.id]
    for cell in cells[:1]:
        if cell.recipe.text.captioner is not None:
            kept = folder.path / "shared" / "captions.json"
            write_captions(cell.recipe, registry, clips, kept, progress=lambda done, total: None)
