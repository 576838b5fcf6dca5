"""Which files are written for which clip, checked before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from expotion.errors import OutputError, Problem
from expotion.music.steering import ANY_VIDEO, DEFAULT_FORMATS, MAX_SEED, SOUND_FORMATS, VIDEO_FORMATS

_CLIPS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts flv wmv ogv 3gp"
CLIP_SUFFIXES = frozenset(f".{name}" for name in _CLIPS.split())
"""Files of a folder that are clips. Sound files are made music for only when they are named."""

_ELSEWHERE = "give another --out"


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
class Plan:
    """All pieces of a command, the formats to write, and the folder that a report goes to (for folders)."""

    targets: tuple[Target, ...]
    formats: tuple[str, ...]
    report_folder: Path | None = None


def find_clips(folder: Path) -> list[Path]:
    """Video files of a folder and those below it, sorted; hidden ones are left alone."""
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in CLIP_SUFFIXES:
                found.append(Path(where) / name)
    return found


def plan(
    clips: Sequence[Path],
    *,
    out: Path | None,
    adaptor: Path | None,
    formats: tuple[str, ...] | None,
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
                problems.append(Problem(str(clip), "a folder with video files", "none"))
            pairs += inside
    targets = [
        Target(clip, base if samples == 1 else base.with_name(f"{base.name}_{take + 1}"), _seed(seed, take))
        for clip, base in pairs
        for take in range(samples)
    ]
    problems += _clashes(targets)
    if not problems:
        problems += _unwritable(sorted({target.base.parent for target in targets}))
    if problems:
        raise OutputError(problems)
    return Plan(tuple(targets), wanted or DEFAULT_FORMATS, target_folder if folders else None)


def _seed(seed: int, take: int) -> int:
    return (seed + take) % (MAX_SEED + 1)


def _inside(folder: Path, target_folder: Path) -> list[tuple[Path, Path]]:
    """Clips of a folder and where their music goes; an output folder below it holds no clips.

    Clips of one folder that differ in their suffix only keep it in the name.
    """
    made, here = target_folder.resolve(), folder.resolve()
    below = made != here and made.is_relative_to(here)
    clips = [path for path in find_clips(folder) if not (below and path.resolve().is_relative_to(made))]
    named = Counter(path.with_suffix("") for path in clips)
    pairs = []
    for path in clips:
        base = path.with_suffix("")
        if named[base] > 1:
            base = base.with_name(f"{base.name}_{path.suffix[1:].lower()}")
        pairs.append((path, target_folder / base.relative_to(folder)))
    return pairs


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
            problems.append(Problem(str(target.clip), wanted, got, _ELSEWHERE))
    return problems


def _unwritable(folders: Sequence[Path]) -> list[Problem]:
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


def wants_video(formats: Sequence[str]) -> bool:
    """Whether some format holds a picture."""
    return any(name == ANY_VIDEO or name in VIDEO_FORMATS for name in formats)
