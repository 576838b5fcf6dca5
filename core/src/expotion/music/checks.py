"""What can be said about a request before any model is loaded: names, times, clips, the adaptor's folder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion import timeline
from expotion.errors import ExpotionError, MediaError, Problem, WeightsError
from expotion.models.published import adaptor_folder
from expotion.music.schedule import Schedule
from expotion.music.steering import VIDEO_FORMATS, Composing
from expotion.music.targets import wants_video
from expotion.plugins import Registry
from expotion.video.probe import check
from expotion.video.scan import Scan, scan
from expotion.video.writing import check_picture


@dataclass(frozen=True)
class AdaptorFacts:
    """What an adaptor's description says. `folder` holds `adaptor.json`."""

    folder: Path
    modalities: tuple[str, ...]
    window_s: float


def find_adaptor(folder: Path | None, registry: Registry, backbone: str | None) -> Path:
    """The folder that holds `adaptor.json`: as given, inside a run folder, `hf:ORG/NAME`, or the default."""
    if folder is not None:
        return adaptor_folder(folder)
    name = backbone or registry.default("backbone")
    default = registry.backbone(name).default_adaptor
    if default is None:
        fix = "give --adaptor RUN_DIR"
        raise ExpotionError(Problem(f"backbone '{name}'", "a default adaptor", "none", fix))
    return default()


def read_facts(folder: Path) -> AdaptorFacts:
    """Read an adaptor's description. Raises WeightsError for a folder that is none."""
    path = folder / "adaptor.json"
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else "no JSON"
        fix = "give the run folder of a recipe"
        raise WeightsError(Problem(str(folder), "an adaptor folder with adaptor.json", got, fix)) from None
    try:
        metadata = description["metadata"]
        names = tuple(condition["name"] for condition in metadata["recipe"]["conditions"])
        window_s = timeline.frames_duration_s(int(metadata["window_frames"]), timeline.CODEC_RATE_HZ)
    except (KeyError, TypeError, ValueError):
        return AdaptorFacts(folder, (), 0.0)  # loading it says exactly what is missing
    return AdaptorFacts(folder, names, window_s)


def name_problems(composing: Composing, facts: AdaptorFacts) -> list[Problem]:
    """Names that the adaptor does not know, and an overlap that leaves nothing new of a window."""
    problems = []
    if facts.window_s:
        named = (
            *(("--strength", name) for name in composing.strengths),
            *(("--guidance", name) for name in composing.guidance),
            *(("--mute" if path is None else "--control", name) for name, path in composing.controls.items()),
        )
        for option, name in named:
            if name in facts.modalities:
                continue
            close = difflib.get_close_matches(name, facts.modalities, n=1)
            known = ", ".join(facts.modalities) or "none: this adaptor has no controls"
            fix = f"did you mean {close[0]!r}?" if close else None
            problems.append(Problem(f"{option} {name}", f"one of {known}", name, fix))
    if composing.overlap_s is not None and facts.window_s and composing.overlap_s >= facts.window_s:
        wanted = f"less than a window of {facts.window_s:g} s"
        problems.append(Problem("--overlap", wanted, f"{composing.overlap_s:g} s"))
    return problems


def clip_problems(clips: Sequence[Path], formats: Sequence[str]) -> dict[Path, list[Problem]]:
    """What is wrong with clips, by clip: files that cannot be read, pictures that a format cannot hold."""
    found: dict[Path, list[Problem]] = {}
    for clip in dict.fromkeys(clips):
        try:
            source = scan(clip)
            check(source, "any")
        except MediaError as error:
            found[clip] = error.problems
            continue
        problems = format_problems(source, formats)
        if problems:
            found[clip] = problems
    return found


def format_problems(source: Scan, formats: Sequence[str]) -> list[Problem]:
    """Video formats that were named and cannot hold a clip's picture as it is."""
    if source.picture is None:
        if wants_video(formats) and all(wants_video([name]) for name in formats):
            fix = "use --format wav"
            return [
                Problem(str(source.path), "a picture to put into the video", "a file with sound only", fix)
            ]
        return []
    problems: list[Problem] = []
    for name in formats:
        if name in VIDEO_FORMATS:
            try:
                check_picture(source.path, f".{name}", source.picture.codec)
            except MediaError as error:
                problems += error.problems
    return problems


def schedule_problems(composing: Composing) -> list[Problem]:
    """Strengths that are neither numbers nor schedules."""
    problems: list[Problem] = []
    for name, given in composing.strengths.items():
        try:
            Schedule.of(given, f"--strength {name}={given}")
        except ExpotionError as error:
            problems += error.problems
    return problems


def control_problems(composing: Composing) -> list[Problem]:
    """Clips to take a control from that cannot be read."""
    problems: list[Problem] = []
    for name, path in composing.controls.items():
        if path is None:
            continue
        try:
            check(scan(path), "any")
        except MediaError as error:
            problems += [
                Problem(f"--control {name}={problem.where}", problem.wanted, problem.got, problem.fix)
                for problem in error.problems
            ]
    return problems
