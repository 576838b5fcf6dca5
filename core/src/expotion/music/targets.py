"""Which files are written for which clip, checked before anything is computed."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from expotion.errors import ExpotionError, MediaError, Problem
from expotion.files import made
from expotion.lock import held
from expotion.music.best import Best
from expotion.music.steering import MAX_SEED, Steering
from expotion.video.container import DEFAULT_LIMITS, VIDEO_NAMES, passed_over
from expotion.video.mux import check_output
from expotion.video.scan import Scan, check, scan

SOUND_FORMATS = ("wav", "flac", "mp3", "opus")
VIDEO_FORMATS = ("mp4", "mov", "mkv", "webm")
FORMATS = (*SOUND_FORMATS, *VIDEO_FORMATS)
OVERLAY = "overlay"
"""Stands for NAME.overlay.mp4: the picture with what steered the music drawn over it."""
ANY_VIDEO = "video"
"""Stands for mp4, or mkv where mp4 cannot hold the clip's picture as it is."""

DEFAULT_FORMATS = ("wav", ANY_VIDEO)
_VIDEOS = {*VIDEO_FORMATS, ANY_VIDEO, OVERLAY}
DEPTHS = ("16", "24", "float")

_ELSEWHERE = "give another --out"


@dataclass(frozen=True)
class Output:
    """What is written of a piece: formats (suffixes without the dot, or ANY_VIDEO; none: the usual), and how."""

    formats: tuple[str, ...] = ()
    depth: str = "16"
    loudness_lufs: float | None = None
    keep_original_sound: bool = False

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        wanted = f"some of {', '.join((*FORMATS, OVERLAY))}"
        found = [
            Problem("--format", wanted, name or "an empty name")
            for name in self.formats
            if name not in (*FORMATS, ANY_VIDEO, OVERLAY)
        ]
        if self.depth not in DEPTHS:
            found.append(Problem("--depth", f"one of {', '.join(DEPTHS)}", self.depth))
        if self.loudness_lufs is not None and not -70.0 < self.loudness_lufs <= -5.0:
            fix = "for example --loudness -16; loudness is counted down from 0"
            got = f"{self.loudness_lufs:g}"
            found.append(Problem("--loudness", "a number of LUFS above -70 and up to -5", got, fix))
        if self.keep_original_sound and not (_VIDEOS - {OVERLAY}) & set(self.formats):
            wanted = "a video among the formats, to hold the second track"
            found.append(Problem("--keep-original-sound", wanted, ", ".join(self.formats)))
        return found


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

    takes: tuple[Takes, ...]
    formats: tuple[str, ...]
    report_folder: Path | None

    def held(self) -> AbstractContextManager[None]:
        """The lock of the folder that a report goes to, else those of all pieces."""
        if self.report_folder is not None:
            return held(self.report_folder)
        bases = [target.base for each in self.takes for target in each.targets]
        return held(bases[0].parent, [base.name for base in bases])


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
    problems: list[Problem],
    best: Best | None = None,
) -> Plan:
    """Targets of files and folders of clips, and the formats.

    A folder's clips keep their sub-folders. Several samples get numbers and seeds one after the other. Of those
    that a `best` is chosen from, the best has the clip's own name, and others kept are numbered from 2 on. What
    is wrong goes into `problems`: names that say no format, folders that cannot be made or written to, two pieces
    with one name, files that would be written over a clip.
    """
    folders = any(clip.is_dir() for clip in clips)
    target = out or (adaptor if adaptor is not None and adaptor.is_dir() else Path()) / "generated"
    suffix = "" if out is None or out.is_dir() else out.suffix.lower().removeprefix(".")
    pairs: list[tuple[Path, Path]] = []
    if suffix and (len(clips) > 1 or folders):
        problems.append(Problem(f"--out {out}", "a folder, as there are several clips", "a file name"))
    elif suffix and suffix not in FORMATS:
        names = ", ".join(f".{name}" for name in FORMATS)
        problems.append(Problem(f"--out {out}", f"a name that ends in {names}", f".{suffix}"))
    elif suffix:
        usual = ("wav", suffix) if suffix in VIDEO_FORMATS else (suffix,)
        formats = tuple(dict.fromkeys((suffix, *formats))) if formats else usual
        pairs = [(clips[0], target.with_suffix(""))]
    else:
        for clip in clips:
            inside = _inside(clip, target) if clip.is_dir() else [(clip, target / clip.stem)]
            if not inside:
                sounds = passed_over(clip)
                fix = "name sound files one by one: a folder's videos alone are taken" if sounds else None
                problems.append(Problem(str(clip), "a folder with video files", sounds or "none", fix))
            pairs += inside
    n_written = samples if best is None else 1 + max(0, best.keep)
    takes = [
        Takes(
            tuple(
                Target(
                    clip,
                    base if n_written == 1 or (best and not take) else base.with_name(f"{base.name}_{take + 1}"),
                    seed if best else (seed + take) % (MAX_SEED + 1),
                )
                for take in range(n_written)
            )
        )
        for clip, base in _with_names_of_their_own(pairs)
    ]
    problems += unfit([target for each in takes for target in each.targets])
    return Plan(tuple(takes), formats or DEFAULT_FORMATS, target if folders else None)


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


def unfit(targets: Sequence[Target]) -> list[Problem]:
    """Pieces that would be written over one another or over a clip, and folders that cannot be written to."""
    problems = []
    originals = {target.clip.resolve() for target in targets}
    owners: dict[Path, Target] = {}
    for target in targets:
        over = originals & {target.file(f".{name}").resolve() for name in (*FORMATS, "overlay.mp4", "json")}
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
    return problems or unwritable({target.base.parent for target in targets})


def unwritable(folders: Iterable[Path]) -> list[Problem]:
    """Folders that cannot be made or written to. It is tried; what was made to find out is gone again."""
    problems = []
    for folder in sorted(folders):
        wanted = "could not be made"
        try:
            with made(folder):
                wanted = "cannot be written to"
                with tempfile.TemporaryFile(dir=folder, prefix=".expotion-"):
                    pass
        except OSError as error:
            problems.append(Problem(str(folder), wanted, error.strerror or str(error), _ELSEWHERE))
    return problems


def scan_clips(
    clips: Sequence[Path], formats: Sequence[str], steering: Steering, best: Best | None = None
) -> tuple[dict[Path, Scan], dict[Path, list[Problem]]]:
    """Scans of the clips that can be used, and what is wrong with the others, by clip."""
    window_s = math.inf
    with contextlib.suppress(ExpotionError):  # an adaptor that is not there has been found out before
        window_s = steering.window_s if clips else math.inf
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
            unfitting = steering.unfit(str(clip), source.duration_s, window_s)
            with contextlib.suppress(ExpotionError):  # a metric that is not there has been found out before
                unfitting += [] if best is None else best.unfit(str(clip), source)
            if unfitting:
                raise MediaError(unfitting)
            scans[clip] = source
        except MediaError as error:
            bad[clip] = error.problems
    return scans, bad


def check_formats(source: Scan, formats: Sequence[str]) -> None:
    """Raise MediaError for video formats that were named and cannot hold a clip's picture as it is."""
    problems: list[Problem] = []
    if source.picture is None and formats and set(formats) <= _VIDEOS:
        wanted, got = "a picture to put into the video", "a file with sound only"
        problems.append(Problem(str(source.path), wanted, got, "use --format wav"))
    for name in formats if source.picture is not None else ():
        if name in VIDEO_FORMATS:
            try:
                check_output(source, f".{name}")
            except MediaError as error:
                problems += error.problems
    if problems:
        raise MediaError(problems)
