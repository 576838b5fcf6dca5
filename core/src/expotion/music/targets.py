"""Which files are written for which clip, checked before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from expotion.errors import MediaError, OutputError, Problem
from expotion.music.steering import MAX_SEED
from expotion.video.container import DEFAULT_LIMITS, SOUND_NAMES, VIDEO_NAMES
from expotion.video.mux import check_output
from expotion.video.probe import check
from expotion.video.scan import Scan, scan

SOUND_FORMATS = ("wav", "flac", "mp3", "opus")
VIDEO_FORMATS = ("mp4", "mov", "mkv", "webm")
ANY_VIDEO = "video"
"""Stands for mp4, or mkv where mp4 cannot hold the clip's picture as it is."""

DEFAULT_FORMATS = ("wav", ANY_VIDEO)
DEPTHS = ("16", "24", "float")

_ELSEWHERE = "give another --out"


@dataclass(frozen=True)
class Output:
    """What is written of a piece: formats (suffixes without the dot, or ANY_VIDEO; none: the usual), and how."""

    formats: tuple[str, ...] = ()
    depth: str = "16"
    loudness_lufs: float | None = None
    keep_original_sound: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return {**asdict(self), "formats": [*self.formats]}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Output:
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        values = {each.name: given[each.name] for each in fields(cls)}
        return cls(**{**values, "formats": tuple(str(name) for name in values["formats"])})

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        known = (*SOUND_FORMATS, *VIDEO_FORMATS)
        for name in self.formats:
            if name not in (*known, ANY_VIDEO):
                found.append(Problem("--format", f"some of {', '.join(known)}", name or "an empty name"))
        if self.depth not in DEPTHS:
            found.append(Problem("--depth", f"one of {', '.join(DEPTHS)}", self.depth))
        if self.loudness_lufs is not None and not -70.0 < self.loudness_lufs <= -5.0:
            fix = "for example --loudness -16; loudness is counted down from 0"
            got = f"{self.loudness_lufs:g}"
            found.append(Problem("--loudness", "a number of LUFS above -70 and up to -5", got, fix))
        if self.keep_original_sound and not wants_video(self.formats):
            wanted = "a video among the formats, to hold the second track"
            found.append(Problem("--keep-original-sound", wanted, ", ".join(self.formats)))
        return found


def wants_video(formats: Sequence[str]) -> bool:
    """Whether some format holds a picture."""
    return any(name in (*VIDEO_FORMATS, ANY_VIDEO) for name in formats)


@dataclass(frozen=True)
class Target:
    """One piece to be made: the clip, where its files go (`base` without suffix), and its seed."""

    clip: Path
    base: Path
    seed: int

    def file(self, suffix: str) -> Path:
        """The file with this suffix, `.wav` or the like."""
        return self.base.with_name(self.base.name + suffix)

    @property
    def record(self) -> Path:
        """The JSON with everything needed to make the files again."""
        return self.file(".json")


@dataclass(frozen=True)
class Takes:
    """Every piece of one clip, so that it is opened once; its scan, where it has been looked at already."""

    targets: tuple[Target, ...]
    source: Scan | None = None

    @property
    def clip(self) -> Path:
        """The clip's file."""
        return self.targets[0].clip


@dataclass(frozen=True)
class Plan:
    """All pieces of a command, the formats to write, and the folder that a report goes to (for folders)."""

    targets: tuple[Target, ...]
    formats: tuple[str, ...]
    report_folder: Path | None = None

    def takes(self, scans: Mapping[Path, Scan]) -> list[Takes]:
        """The pieces by clip and folder."""
        by_clip: dict[tuple[Path, Path], list[Target]] = {}
        for target in self.targets:
            by_clip.setdefault((target.clip, target.base.parent), []).append(target)
        return [Takes(tuple(targets), scans.get(clip)) for (clip, _), targets in by_clip.items()]


def find_clips(folder: Path) -> list[Path]:
    """Video files of a folder and those below it, sorted; hidden ones are left alone."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_NAMES:
                found.append(Path(where) / name)
    return found


def plan(
    clips: Sequence[Path],
    *,
    out: Path | None,
    adaptor: Path | None,
    formats: tuple[str, ...],
    samples: int,
    seed: int,
) -> Plan:
    """Targets of files and folders of clips, and the formats.

    A folder's clips keep their sub-folders. Several samples get numbers and seeds one after the other. Makes the
    output folders. Raises OutputError with everything that is wrong: folders that cannot be made or written to,
    two pieces with one name, files that would be written over a clip.
    """
    folders = [clip for clip in clips if clip.is_dir()]
    default = (adaptor / "generated") if adaptor is not None else Path("generated")
    target_folder: Path | None = default
    wanted = formats
    problems: list[Problem] = []
    if out is not None:
        suffix = out.suffix.lower().removeprefix(".")
        if out.is_dir() or suffix == "":
            target_folder = out
        elif len(clips) > 1 or folders:
            problems.append(Problem(f"--out {out}", "a folder, as there are several clips", "a file name"))
        elif suffix not in (*SOUND_FORMATS, *VIDEO_FORMATS):
            names = ", ".join(f".{name}" for name in (*SOUND_FORMATS, *VIDEO_FORMATS))
            problems.append(Problem(f"--out {out}", f"a name that ends in {names}", f".{suffix}"))
        else:
            target_folder = None
            with_video = ("wav", suffix) if suffix in VIDEO_FORMATS else (suffix,)
            wanted = tuple(dict.fromkeys((suffix, *formats))) if formats else with_video
    pairs: list[tuple[Path, Path]] = []
    if target_folder is None and out is not None:
        pairs = [(clips[0], out.with_suffix(""))]
    elif target_folder is not None and not problems:
        for clip in clips:
            inside = _inside(clip, target_folder) if clip.is_dir() else [(clip, target_folder / clip.stem)]
            if not inside:
                sounds = passed_over(clip)
                fix = "name sound files one by one: a folder's videos alone are taken" if sounds else None
                problems.append(Problem(str(clip), "a folder with video files", sounds or "none", fix))
            pairs += inside
    targets = [
        Target(clip, base if samples == 1 else base.with_name(f"{base.name}_{take + 1}"), _seed(seed, take))
        for clip, base in _with_names_of_their_own(pairs)
        for take in range(samples)
    ]
    problems += _clashes(targets)
    if not problems:
        problems += unwritable(sorted({target.base.parent for target in targets}))
    if problems:
        raise OutputError(problems)
    return Plan(tuple(targets), wanted or DEFAULT_FORMATS, target_folder if folders else None)


def _seed(seed: int, take: int) -> int:
    return (seed + take) % (MAX_SEED + 1)


def _inside(folder: Path, target_folder: Path) -> list[tuple[Path, Path]]:
    """Clips of a folder and where their music goes; an output folder below it holds no clips."""
    made, here = target_folder.resolve(), folder.resolve()
    below = made != here and made.is_relative_to(here)
    clips = [path for path in find_clips(folder) if not (below and path.resolve().is_relative_to(made))]
    return [(path, target_folder / path.with_suffix("").relative_to(folder)) for path in clips]


def _with_names_of_their_own(pairs: Sequence[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Clips and where their music goes; those that differ in their suffix only keep it in the name."""
    named = Counter(base for _, base in pairs)
    return [
        (clip, base if named[base] == 1 else base.with_name(f"{base.name}_{clip.suffix[1:].lower()}"))
        for clip, base in pairs
    ]


def passed_over(folder: Path) -> str | None:
    """Sound files of a folder, counted and named: music is made for its videos alone. None for none."""
    sounds = [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in SOUND_NAMES]
    return f"{len(sounds)} sound files ({', '.join(sounds[:3])})" if sounds else None


def _clashes(targets: Sequence[Target]) -> list[Problem]:
    """Pieces that would be written over one another or over a clip."""
    problems = []
    originals = {target.clip.resolve() for target in targets}
    owners: dict[Path, Target] = {}
    for target in targets:
        suffixes = (f".{name}" for name in (*SOUND_FORMATS, *VIDEO_FORMATS, "json"))
        over = originals & {target.file(suffix).resolve() for suffix in suffixes}
        problems += [
            Problem(str(target.base), "not to be written over a clip", str(path), _ELSEWHERE)
            for path in sorted(over)
        ]
        first = owners.setdefault(target.base.resolve(), target)
        if first is not target:
            wanted = "a name of its own for its music"
            got = f"{target.base.name}, as {first.clip} has"
            fix = "rename one of them, or make their music one after the other, each with its --out"
            problems.append(Problem(str(target.clip), wanted, got, fix))
    return problems


def unwritable(folders: Sequence[Path]) -> list[Problem]:
    """Make the folders and try to write into each; what cannot be done."""
    problems = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problems.append(Problem(str(folder), "could not be made", _reason(error), _ELSEWHERE))
            continue
        try:
            with tempfile.TemporaryFile(dir=folder, prefix=".expotion-"):
                pass
        except OSError as error:
            problems.append(Problem(str(folder), "cannot be written to", _reason(error), _ELSEWHERE))
    return problems


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


# Clips looked at before anything is loaded.


def scan_clips(
    clips: Sequence[Path], formats: Sequence[str]
) -> tuple[dict[Path, Scan], dict[Path, list[Problem]]]:
    """Scans of the clips that can be used, and what is wrong with the others, by clip."""
    scans: dict[Path, Scan] = {}
    bad: dict[Path, list[Problem]] = {}
    for clip in dict.fromkeys(clips):
        try:
            source = scan(clip)
            check(source, "any")
            if source.duration_s > DEFAULT_LIMITS.max_duration_s:
                wanted = f"a clip of at most {DEFAULT_LIMITS.max_duration_s:.0f} s"
                got, fix = f"{source.duration_s:.1f} s", "cut it into parts, and make music for each"
                raise MediaError(Problem(str(clip), wanted, got, fix))
            check_formats(source, formats)
            scans[clip] = source
        except MediaError as error:
            bad[clip] = error.problems
    return scans, bad


def check_formats(source: Scan, formats: Sequence[str]) -> None:
    """Raise MediaError for video formats that were named and cannot hold a clip's picture as it is."""
    problems: list[Problem] = []
    if source.picture is None:
        if formats and all(wants_video([name]) for name in formats):
            wanted, got = "a picture to put into the video", "a file with sound only"
            problems.append(Problem(str(source.path), wanted, got, "use --format wav"))
        formats = ()
    for name in formats:
        if name in VIDEO_FORMATS:
            assert source.picture is not None
            try:
                check_output(source, f".{name}")
            except MediaError as error:
                problems += error.problems
    if problems:
        raise MediaError(problems)
