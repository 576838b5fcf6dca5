"""The rows of a matrix's table as sounds: what the cells made, outside folders, and controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Scored
from expotion.evaluate.evaluate import load_evaluation
from expotion.evaluate.outside import OutsideRow
from expotion.features import material
from expotion.features.material import prompt_of
from expotion.features.store import FeatureStore
from expotion.matrix.declare import Cell, Matrix
from expotion.matrix.folder import MatrixFolder
from expotion.music.sound import to_sound
from expotion.musicgen.codec import Codec
from expotion.musicgen.load import backbone_folder, load_backbone
from expotion.plugins import Registry
from expotion.recipe import Recipe
from expotion.run.captions import write_captions
from expotion.run.folder import RunFolder
from expotion.video.sound_files import read_wav, write_wav

GROUND_TRUTH, CODEC_CEILING, SILENCE, SHUFFLED = "ground_truth", "codec_ceiling", "silence", "shuffled"
TITLES = {GROUND_TRUTH: "ground truth", CODEC_CEILING: "codec round trip", SILENCE: "silence"}


def clips_of(recipe: Recipe, registry: Registry, *, train: bool = False) -> list[Clip]:
    """Test clips of a recipe's data, behind those that it trains on where they are wanted."""
    data = registry.data_source(recipe.data.source)
    source = data.build(data.options(**recipe.data.options))
    return [*(source.clips("train") if train else ()), *source.clips("test")]


def _codec(recipe: Recipe, registry: Registry) -> Codec:
    source = backbone_folder(recipe.backbone.source, registry)
    codec = load_backbone(source, parts=frozenset({"codec"})).codec
    assert codec is not None
    return codec


def control_sounds(
    names: Sequence[str],
    recipe: Recipe,
    registry: Registry,
    clips: Sequence[Clip],
    folder: Path,
    sample_rate_hz: int,
) -> dict[str, list[Scored]]:
    """The rows that need no trained model, by name, one sound per clip; the codec's are kept in `folder`.

    They show what the metrics say of the clips' own sound, of the codec's round trip, and of nothing at all.
    """
    paths = _round_trip(recipe, registry, clips, folder / CODEC_CEILING) if CODEC_CEILING in names else {}
    sound_of: dict[str, Callable[[Clip], NDArray[np.float32] | None]] = {
        GROUND_TRUTH: lambda clip: clip.audio(sample_rate_hz),
        CODEC_CEILING: lambda clip: read_wav(paths[clip.id]) if clip.id in paths else None,
        SILENCE: lambda clip: np.zeros(timeline.n_samples(clip.duration_s, sample_rate_hz), np.float32),
    }
    return {
        name: _scored(((clip, sound_of[name](clip)) for clip in clips), recipe, sample_rate_hz) for name in names
    }


def _scored(
    sounds: Iterable[tuple[Clip, NDArray[np.float32] | None]], recipe: Recipe, sample_rate_hz: int
) -> list[Scored]:
    """Sounds with the prompts that the recipe gives their clips; those that are not there are left out."""
    return [
        Scored(samples, sample_rate_hz, clip, prompt_of(recipe, clip))
        for clip, samples in sounds
        if samples is not None
    ]


def _round_trip(recipe: Recipe, registry: Registry, clips: Sequence[Clip], folder: Path) -> dict[str, Path]:
    """Each clip's own sound through the codec and back, as wav files; those that are there are kept."""
    paths = {clip.id: folder / f"{clip.id}.wav" for clip in clips}
    left = [clip for clip in clips if not paths[clip.id].exists()]
    if left:
        source = backbone_folder(recipe.backbone.source, registry)
        bare = recipe.model_copy(update={"conditions": []})
        tracks = material.extract_all(
            bare, {}, source, left, FeatureStore(), material.Failures(), progress=lambda done, total: None
        )
        codec = _codec(recipe, registry)
        import torch  # noqa: PLC0415

        for clip in left:
            if clip.id in tracks.codes:
                n_samples = timeline.n_samples(clip.duration_s, codec.sample_rate_hz)
                samples = to_sound(codec, torch.from_numpy(tracks.codes[clip.id]), n_samples)
                write_wav(paths[clip.id], samples, codec.sample_rate_hz)
    return {clip_id: path for clip_id, path in paths.items() if path.exists()}


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
    matrix: Matrix, registry: Registry, folder: MatrixFolder, clips: Sequence[Clip], outside: Sequence[OutsideRow]
) -> tuple[list[Sounds], list[str]]:
    """Systems in the order of the recipe, outside rows, then controls."""
    rate_hz = _codec(matrix.cells[0].recipe, registry).sample_rate_hz
    own = {clip.id: clip.caption for clip in clips}
    systems: list[Sounds] = []
    shuffled: list[Sounds] = []
    notes: list[str] = []
    errors = folder.failures()
    columns = list(dict.fromkeys(column for row in matrix.rows for column in row.labels))
    for row in matrix.rows:
        cells = [matrix.cell(name) for name in row.cells]
        done = [
            cell for cell in cells if cell.name not in errors and (folder.cell(cell.name) / "metrics.json").exists()
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
                _of_cells(f"{row.name}/{SHUFFLED}", told, "control", with_shuffled, folder, clips, rate_hz, None)
            )
    # The reference row's prompts count for rows without prompts of their own.
    of_row = {row.name: row.cells for row in matrix.rows}
    spokesman = matrix.cell(of_row.get(matrix.spec.reference_row or "", matrix.rows[0].cells)[0])
    prompts = spokesman.recipe
    _captions([spokesman], registry, folder, clips, own)
    head = columns[0] if columns else "row"
    others = []
    for made in outside:
        sounds = made.scored(rate_hz, lambda clip: prompt_of(prompts, clip))
        others.append(Sounds(made.name, {head: made.name}, "outside", [sounds]))
        notes += made.notes
    controls = [
        Sounds(name, {head: TITLES[name]}, "control", [sounds])
        for name, sounds in control_sounds(
            matrix.spec.controls, prompts, registry, clips, folder.path / "controls", rate_hz
        ).items()
    ]
    return [*systems, *others, *shuffled, *controls], notes


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
        paths = [(clip, run.sample(condition, clip.id)) for clip in clips]
        sounds = ((clip, read_wav(path)) for clip, path in paths if path.exists())
        seeds.append(_scored(sounds, cell.recipe, rate_hz))
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
