"""`expotion generate`: music for any clip, with a trained adaptor."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from expotion import timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.checkpoint import load_adaptor, read_description
from expotion.assemble import (
    backbone_folder,
    build_encoders,
    build_projections,
    build_text_encoder,
    compute_dtype,
)
from expotion.backbone.load import Backbone, load_backbone
from expotion.contracts import Encoder, SmoothedTrack, TimedFeatures
from expotion.data.clip import FileClip
from expotion.data.mux import mux_video, write_wav
from expotion.errors import ExpotionError, MediaError, OutputError, Problem, WeightsError
from expotion.features.extract import extract_many
from expotion.features.smooth import coverage, smooth_track
from expotion.files import write_json
from expotion.generation.compose import Request, compose, to_sound
from expotion.pipeline.generation_stage import compose_settings
from expotion.pipeline.material import Prompts
from expotion.pipeline.progress import stage_progress
from expotion.plugins import Registry
from expotion.recipe import Recipe

log = logging.getLogger("expotion")
DEFAULT_PROMPT = "a calm piano piece"
_SUFFIXES = (".mp4", ".wav")
_ELSEWHERE = "give another --out"
LEAST_COVERAGE = 0.1
"""A control that has something to say in less of the clip than this is left out, with a warning."""


@dataclass
class Composer:
    """Everything that is loaded once for any number of clips."""

    recipe: Recipe
    backbone: Backbone
    adaptor: Adaptor
    encoders: dict[str, Encoder]
    prompts: Prompts
    window_frames: int


def open_composer(folder: Path | None, registry: Registry, backbone_source: str | None = None) -> Composer:
    """Load an adaptor folder (or a run folder that holds one), its backbone and its encoders.

    Without a folder the backbone's own default adaptor is taken. Raises ExpotionError with what is missing.
    """
    if folder is None:
        name = backbone_source or "tiny"
        default = registry.backbone(name).default_adaptor
        if default is None:
            raise ExpotionError(
                Problem(
                    where=f"backbone '{name}'",
                    wanted="a default adaptor",
                    got="none",
                    fix="give --adaptor RUN_DIR",
                )
            )
        folder = default()
    if (folder / "adaptor" / "adaptor.json").exists():
        folder = folder / "adaptor"
    recipe = _recipe_of(folder)
    encoders = build_encoders(recipe, registry)
    adaptor, metadata = load_adaptor(folder, projections=build_projections(recipe, encoders))
    source = backbone_folder(backbone_source or recipe.backbone.source, registry)
    backbone = load_backbone(source)
    wanted, got = (
        (adaptor.config.width, adaptor.config.n_lm_layers),
        (backbone.geometry.width, backbone.geometry.n_layers),
    )
    if wanted != got:
        raise ExpotionError(
            Problem(
                where=f"backbone {source}",
                wanted=f"width {wanted[0]} and {wanted[1]} layers, which {folder} was trained on",
                got=f"width {got[0]} and {got[1]} layers",
                fix="leave out --backbone, or train an adaptor on that backbone",
            )
        )
    if backbone.weights_hash != metadata["backbone_hash"]:
        log.warning("the backbone's weights are not those that %s was trained on", folder)
    for name, encoder in encoders.items():
        if encoder.weights_hash != metadata["encoder_hashes"].get(name):
            log.warning("the weights of '%s' are not those that %s was trained with", name, folder)
    prompts = Prompts(build_text_encoder(recipe, registry, source))
    backbone = backbone.cast(compute_dtype(recipe.generate.precision))
    return Composer(recipe, backbone, adaptor, encoders, prompts, int(metadata["window_frames"]))


def _recipe_of(folder: Path) -> Recipe:
    """The recipe in an adaptor's description; WeightsError where training has not put it there."""
    found = read_description(folder).get("metadata")
    metadata = found if isinstance(found, dict) else {}
    needed = ("recipe", "backbone_hash", "encoder_hashes", "window_frames")
    missing = [key for key in needed if key not in metadata]
    if missing:
        raise WeightsError(
            Problem(
                where=str(folder / "adaptor.json"),
                wanted=f"metadata with {', '.join(needed)}",
                got=f"no {', '.join(missing)}",
                fix="give the run folder of a recipe",
            )
        )
    return Recipe.from_dict(metadata["recipe"])


def generate_files(
    *,
    clips: list[Path],
    registry: Registry,
    adaptor: Path | None,
    prompt: str | None,
    out: Path | None,
    seed: int,
    cfg_scale: float | None,
    strengths: dict[str, float],
    backbone: str | None,
    console: Console,
) -> list[Path]:
    """Write a wav and, where there is a picture, an mp4 for each clip; returns the files.

    A clip that fails does not stop the others; they are listed together at the end as one MediaError.
    """
    targets = _targets(clips, out, adaptor)
    with stage_progress(console, "load models"):
        composer = open_composer(adaptor, registry, backbone)
    _check_strengths(composer, strengths)
    written: list[Path] = []
    problems: list[Problem] = []
    cause: Exception | None = None
    for path, target in zip(clips, targets, strict=True):
        try:
            written += _generate_one(composer, path, target, prompt, seed, cfg_scale, strengths, console)
        except Exception as error:  # whatever is wrong with one clip, the others are made
            known = isinstance(error, ExpotionError)
            problems += (
                error.problems
                if isinstance(error, ExpotionError)
                else [Problem(str(path), "music", f"{type(error).__name__}: {error}")]
            )
            cause = cause if known else error
            console.print(f"[red]failed[/] {escape(str(path))}", highlight=False)
    if problems:
        for path in written:
            console.print(f"Wrote {path}", soft_wrap=True, highlight=False, markup=False)
        raise MediaError(problems) from cause
    return written


def _check_strengths(composer: Composer, strengths: Mapping[str, float]) -> None:
    known = [condition.name for condition in composer.recipe.conditions]
    problems = [
        Problem(
            where=f"--strength {name}",
            wanted=f"one of {', '.join(known) or 'none: this adaptor has none'}",
            got=name,
        )
        for name in strengths
        if name not in known
    ]
    if problems:
        raise ExpotionError(problems)


def _targets(clips: Sequence[Path], out: Path | None, adaptor: Path | None) -> list[Path]:
    """Path of each mp4 (or wav): as told, or beside the run, or in the working folder.

    Raises OutputError, before anything is computed, for a folder that cannot be made, for two clips that would
    be written to one file, and for a file that would be written over a clip.
    """
    if out is None:
        folder: Path | None = (adaptor / "generated") if adaptor is not None else Path("generated")
    else:
        folder = out if out.is_dir() or out.suffix == "" else None
    if folder is None and out is not None and len(clips) == 1:
        targets = [out]
    elif folder is not None:
        targets = [folder / f"{clip.stem}.mp4" for clip in clips]
    else:
        raise OutputError(Problem(f"--out {out}", "a folder, as there are several clips", "a file name"))
    problems = []
    originals = {clip.resolve() for clip in clips}
    for clip, target in zip(clips, targets, strict=True):
        if target.suffix not in _SUFFIXES:
            problems.append(
                Problem(f"--out {target}", f"a name that ends in {' or '.join(_SUFFIXES)}", target.suffix)
            )
        files = {target.with_suffix(suffix).resolve() for suffix in (*_SUFFIXES, ".json")}
        if files & originals:
            problems.append(Problem(str(target), "not to be written over a clip", str(clip), _ELSEWHERE))
        if targets.count(target) > 1:
            problems.append(
                Problem(str(clip), "a name of its own", f"several clips called {clip.stem}", _ELSEWHERE)
            )
    if not problems:
        try:
            targets[0].parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(Problem(str(targets[0].parent), "could not be made", str(error), _ELSEWHERE))
    if problems:
        raise OutputError(problems)
    return targets


def _generate_one(
    composer: Composer,
    path: Path,
    target: Path,
    prompt: str | None,
    seed: int,
    cfg_scale: float | None,
    strengths: Mapping[str, float],
    console: Console,
) -> list[Path]:
    clip = FileClip(path)
    with contextlib.closing(clip):
        return _generate_for(composer, clip, target, prompt, seed, cfg_scale, strengths, console)


def _generate_for(
    composer: Composer,
    clip: FileClip,
    target: Path,
    prompt: str | None,
    seed: int,
    cfg_scale: float | None,
    strengths: Mapping[str, float],
    console: Console,
) -> list[Path]:
    path, recipe, rate_hz = clip.path, composer.recipe, composer.backbone.frame_rate_hz
    assert composer.backbone.codec is not None
    n_frames = timeline.n_steps(clip.duration_s, rate_hz)
    used = {c.name: strengths.get(c.name, c.strength) for c in recipe.conditions}
    tracks = _tracks(composer, clip, used, n_frames, console)
    words = prompt or recipe.text.fixed_prompt or DEFAULT_PROMPT
    settings = compose_settings(recipe, composer.window_frames)
    if cfg_scale is not None:
        settings = dataclasses.replace(settings, cfg_scale=cfg_scale)
    with stage_progress(console, f"compose {path.name}") as progress:
        request = Request(n_frames, composer.prompts[words], tracks, used, seed)
        codes = compose(composer.backbone.lm, composer.adaptor, [request], settings, on_step=progress)[0]
        sample_rate_hz = composer.backbone.sample_rate_hz
        samples = to_sound(
            composer.backbone.codec, codes, timeline.n_samples(clip.duration_s, sample_rate_hz)
        )
    wav = target.with_suffix(".wav")
    write_wav(wav, samples, sample_rate_hz)
    files = [wav]
    if clip.video is not None and target.suffix != ".wav":
        mux_video(path, samples, sample_rate_hz, target, duration_s=clip.duration_s)
        files.append(target)
    notes: dict[str, Any] = {
        "clip": str(path),
        "duration_s": clip.duration_s,
        "prompt": words,
        "seed": seed,
        "cfg_scale": settings.cfg_scale,
        "strengths": used,
        "controls_used": sorted(tracks),
        "backbone_hash": composer.backbone.weights_hash,
        "recipe": json.loads(json.dumps(recipe.to_dict())),
    }
    record = target.with_suffix(".json")
    write_json(record, notes)
    return [*files, record]


def _tracks(
    composer: Composer, clip: FileClip, strengths: Mapping[str, float], n_frames: int, console: Console
) -> dict[str, SmoothedTrack]:
    """Smoothed tracks of the controls in use; one with too little to say is left out with a warning."""
    wanted = {name: e for name, e in composer.encoders.items() if strengths.get(name, 1.0) != 0.0}
    if clip.video is None:
        wanted = {name: e for name, e in wanted.items() if "video" not in e.spec.needs}
        if len(wanted) < len(composer.encoders):
            console.print(
                f"[yellow]warning[/] {escape(clip.id)}: no picture; the music follows the prompt alone"
            )
    if not wanted:
        return {}
    with stage_progress(console, f"controls {clip.id}"):
        found = extract_many(wanted, [clip])
    if found.failures:
        raise MediaError(
            [
                Problem(where=str(clip.path), wanted=f"features of {f.encoder}", got=f.error)
                for f in found.failures
            ]
        )
    tracks = {}
    for name, features in found.features[clip.id].items():
        assert isinstance(features, TimedFeatures)
        smoothed = smooth_track(composer.encoders[name], features, n_frames, composer.backbone.frame_rate_hz)
        seen = coverage(features, smoothed, composer.backbone.frame_rate_hz)
        if features.coverage < LEAST_COVERAGE:
            console.print(
                f"[yellow]warning[/] {escape(f'{clip.id}: {name} left out: {seen}')}", highlight=False
            )
            continue
        if smoothed.valid.mean() < 0.9:
            console.print(f"[yellow]warning[/] {escape(f'{clip.id}: {name}: {seen}')}", highlight=False)
        tracks[name] = smoothed
    return tracks
