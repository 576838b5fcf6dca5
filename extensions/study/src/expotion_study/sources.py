"""What `study build` is given: run folders, folders of runs, and plain folders of sound, as systems and clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.music.targets import find_clips
from expotion.plugins import Registry
from expotion.recipe import Recipe, load_recipe
from expotion.run.captions import write_captions
from expotion.run.folder import STATE, RunFolder
from expotion.video.audio import load_audio
from expotion.video.clip import FileClip
from expotion_study.stimuli import RATE_HZ, System

ORIGINAL = "original"
"""The clip's own sound, as a system: the hidden reference."""
CELLS = "cells"
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a", ".aac"})


@dataclass
class Sources:
    """Systems in the order given, and what is known of their clips, by clip id."""

    systems: list[System] = field(default_factory=list)
    clips: dict[str, Clip] = field(default_factory=dict)
    prompts: dict[str, str | None] = field(default_factory=dict)


def open_sources(
    arguments: Sequence[str],
    registry: Registry,
    *,
    videos: Path | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Sources:
    """Systems from arguments `[NAME=]PATH[:CONDITION]`.

    PATH is a run folder (CONDITION one of its folders of samples, or `original`; by default all controls
    together), a folder with runs in `cells/`, or a folder of sound files named by clip. Clips and prompts come
    from the runs; `videos` and `prompts` go before them. Raises ExpotionError with everything that is wrong.
    """
    found, problems = Sources(), list[Problem]()
    if videos is not None:
        try:
            found.clips |= _video_clips(videos)
        except ExpotionError as error:
            problems += error.problems
    for argument in arguments:
        try:
            for name, path, condition in _spread(argument):
                _add(found, name, path, condition, registry)
        except ExpotionError as error:
            problems += error.problems
    names = [system.name for system in found.systems]
    for name in sorted({name for name in names if names.count(name) > 1}):
        fix = "give names: NAME=PATH"
        problems.append(Problem("RUN...", "a name of its own for each system", f"{name} twice", fix))
    if problems:
        raise ExpotionError(list(dict.fromkeys(problems)))
    found.prompts |= dict(prompts or {})
    return found


def _spread(argument: str) -> list[tuple[str, Path, str | None]]:
    """An argument as (name, folder, condition): one, or each cell of a matrix."""
    name, path, condition = _split(argument)
    if not path.is_dir():
        fix = "give a run folder or a folder of sound files, as [NAME=]PATH[:CONDITION]"
        raise ExpotionError(Problem(str(path), "a folder", "none" if not path.exists() else "a file", fix))
    if (path / CELLS).is_dir() and not (path / STATE).exists():
        cells = sorted(cell for cell in (path / CELLS).iterdir() if (cell / STATE).is_file())
        if not cells:
            raise ExpotionError(Problem(str(path / CELLS), "run folders", "none"))
        return [(f"{name}/{cell.name}" if name else cell.name, cell, condition) for cell in cells]
    default = path.resolve().name + (f" {condition}" if condition else "")
    return [(name or default, path, condition)]


def _split(argument: str) -> tuple[str, Path, str | None]:
    name, found, rest = argument.partition("=")
    if not found or "/" in name or Path(argument).exists():
        name, rest = "", argument
    condition = None
    if not Path(rest).exists() and ":" in rest:
        rest, _, condition = rest.rpartition(":")
    return name.strip(), Path(rest).expanduser(), condition or None


def _add(found: Sources, name: str, path: Path, condition: str | None, registry: Registry) -> None:
    if (path / STATE).is_file():
        _add_run(found, name, path, condition, registry)
        return
    if condition is not None:
        fix = "leave the condition out"
        raise ExpotionError(Problem(f"{path}:{condition}", "a run folder before a condition", "none", fix))
    files = {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() in SOUND_SUFFIXES}
    if not files:
        fix = "name the files by clip, for example clip_01.wav"
        raise ExpotionError(Problem(str(path), "a run folder or sound files", "neither", fix))
    found.systems.append(System(name, tuple(files), _from_files(files)))


def _add_run(found: Sources, name: str, path: Path, condition: str | None, registry: Registry) -> None:
    run = RunFolder.open(path)
    recipe = load_recipe(path / "recipe.yaml", registry=registry)
    condition = condition or recipe.joint_name or "text_only"
    clips = _test_clips(recipe, registry, path)
    if condition == ORIGINAL:
        own, load = clips, _from_clips(clips)
    else:
        made = {clip_id: run.sample(condition, clip_id) for clip_id in clips}
        files = {clip_id: file for clip_id, file in made.items() if file.is_file()}
        if not files:
            there = sorted(each.name for each in (path / "samples").glob("*") if each.is_dir())
            wanted = f"one of {', '.join([*there, ORIGINAL])}"
            fix = f"for example {path}:{there[0]}" if there else "finish the run first"
            raise ExpotionError(Problem(f"{path}:{condition}", wanted, "no samples of it", fix))
        own = {clip_id: clips[clip_id] for clip_id in files}
        load = _from_files(files)
    found.systems.append(System(name, tuple(own), load))
    for clip_id, clip in own.items():
        # Clips of one name are the same clip in every run, or the comparison means nothing.
        if abs(found.clips.setdefault(clip_id, clip).duration_s - clip.duration_s) > 0.1:
            got, fix = f"another length of {clip_id}", "compare runs on the same data"
            raise ExpotionError(Problem(str(path), "the clips of the other systems", got, fix))
        # The clip's own words, not a system's: they must not tell systems apart.
        if found.prompts.get(clip_id) is None:
            found.prompts[clip_id] = clip.caption or recipe.text.fixed_prompt


def _test_clips(recipe: Recipe, registry: Registry, path: Path) -> dict[str, Clip]:
    data = registry.data_source(recipe.data.source)
    clips = list(data.build(data.options(**recipe.data.options)).clips("test"))
    if recipe.text.captioner is not None and (path / "captions.json").is_file():
        write_captions(recipe, registry, clips, path / "captions.json", progress=lambda _done, _total: None)
    return {clip.id: clip for clip in clips}


def _from_files(files: Mapping[str, Path]) -> Callable[[str], NDArray[np.float32]]:
    return lambda clip_id: _there(load_audio(files[clip_id], RATE_HZ), str(files[clip_id]), "sound")


def _from_clips(clips: Mapping[str, Clip]) -> Callable[[str], NDArray[np.float32]]:
    return lambda clip_id: _there(clips[clip_id].audio(RATE_HZ), clip_id, "sound of its own")


def _there(samples: NDArray[np.float32] | None, where: str, wanted: str) -> NDArray[np.float32]:
    if samples is None:
        raise MediaError(Problem(where, wanted, "none"))
    return samples


def _video_clips(folder: Path) -> dict[str, Clip]:
    """Videos of a folder by their names without suffix."""
    if not folder.is_dir():
        raise ExpotionError(Problem(f"--videos {folder}", "a folder", "none"))
    files = find_clips(folder)
    if not files:
        raise ExpotionError(Problem(f"--videos {folder}", "video files", "none"))
    return {file.stem: FileClip(file, id=file.stem, require="video") for file in files}


def read_prompts(path: Path) -> dict[str, str]:
    """Prompts by clip from a CSV of two columns (clip, prompt) or a JSON object."""
    import csv
    import io
    import json

    def wrong(wanted: str, got: str) -> ExpotionError:
        fix = 'a CSV with "clip,prompt" on each line, or a JSON object'
        return ExpotionError(Problem(f"--prompts {path}", wanted, got, fix))

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong("a text file", str(error)) from None
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(text)
        except ValueError as error:
            raise wrong("JSON", str(error)) from None
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            raise wrong("an object of texts by clip", "another JSON")
        return content
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise wrong("two columns", f"{len(row)} columns in row {number}")
    return {clip.strip(): prompt.strip() for clip, prompt in rows if clip.strip().lower() != "clip"}
