"""Sounds that other systems, or people, made for the same clips: a folder of audio files becomes a row.

A file belongs to the clip whose id it is named by (`ID.wav`). Where no file is, it belongs to the clip whose id
ends in the same number, if there is one such (`video_12.mp3` for `clip-12`). What is missing, left over or too
short is said.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from expotion import timeline
from expotion.contracts import Clip, Scored
from expotion.errors import ExpotionError, Problem, listed
from expotion.files import escaped, file_sha256
from expotion.video.audio import fit, load_audio

_SOUNDS = (".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a", ".aac", ".aif", ".aiff")
SUFFIXES = (*_SOUNDS, ".mp4", ".webm", ".mkv")
TOLERANCE_S = 0.1
"""A sound that ends this much before its clip counts as long enough."""
SHOWN = 6
"""Names that a note gives."""
_NUMBER = re.compile(r"(\d+)(?!.*\d)")


@dataclass
class OutsideRow:
    """A folder of sounds matched to clips.

    Raises ExpotionError where there is no such folder, or no file of it belongs to a clip. `notes` names clips
    without a sound, files without a clip, and sounds that end before their clip.
    """

    name: str
    folder: str | Path
    clips: Sequence[Clip]
    files: dict[str, Path] = field(init=False)
    notes: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        folder, where = Path(self.folder).expanduser(), f"outside row {self.name!r}"
        if not folder.is_dir():
            got = "no such folder" if not folder.exists() else "a file"
            wanted = "a folder of sound files"
            raise ExpotionError(Problem(where, wanted, f"{folder}: {got}", "check the path"))
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        self.files, left = match_files(found, [clip.id for clip in self.clips])
        if not self.files:
            names = ", ".join(clip.id for clip in self.clips[:3])
            fix = f"name the files by the clips' ids: {names}, .."
            got = f"{len(found)} sound files, none of them named like a clip" if found else "no sound file"
            raise ExpotionError(Problem(where, f"sounds of the test clips in {folder}", got, fix))
        missing = [clip.id for clip in self.clips if clip.id not in self.files]
        if missing:
            self.notes.append(f"{self.name}: no sound for {listed(missing, SHOWN)}; the row has the others")
        if left:
            self.notes.append(f"{self.name}: of no test clip: {listed([path.name for path in left], SHOWN)}")

    @property
    def content_hash(self) -> str:
        """Hex SHA-256 of the matched files' names and bytes."""
        digest = hashlib.sha256(self.name.encode())
        for clip_id, path in sorted(self.files.items()):
            digest.update(clip_id.encode())
            digest.update(bytes.fromhex(file_sha256(path)))
        return digest.hexdigest()

    def scored(self, sample_rate_hz: int, prompt_of: Callable[[Clip], str | None]) -> list[Scored]:
        """The sounds at a rate, mono, as long as their clips. Short or unreadable ones are left out and named."""
        sounds, short, broken = [], [], []
        for clip in self.clips:
            path = self.files.get(clip.id)
            if path is None:
                continue
            try:
                samples = load_audio(path, sample_rate_hz)
            except ExpotionError as error:
                broken.append(f"{path.name} ({error.problems[0].wanted})")
                continue
            if samples is None:
                broken.append(f"{path.name} (no sound in it)")
                continue
            wanted = timeline.n_samples(clip.duration_s, sample_rate_hz)
            if len(samples) < wanted - TOLERANCE_S * sample_rate_hz:
                seconds = timeline.frames_duration_s(len(samples), sample_rate_hz)
                short.append(f"{path.name} ({seconds:.1f} of {clip.duration_s:.1f} s)")
                continue
            sounds.append(Scored(fit(samples, wanted), sample_rate_hz, clip, prompt_of(clip)))
        for what, names in (("left out, too short", short), ("left out, not readable", broken)):
            if names:
                self.notes.append(f"{self.name}: {what}: {listed(names, SHOWN)}")
        return sounds


def outside_rows(folders: Mapping[str, Path], clips: Sequence[Clip]) -> list[OutsideRow]:
    """The rows of `evaluate.outside`. Raises ExpotionError with what is wrong with any of them."""
    rows, problems = [], []
    for name, folder in folders.items():
        try:
            rows.append(OutsideRow(name, folder, clips))
        except ExpotionError as error:
            problems += error.problems
    if problems:
        raise ExpotionError(problems)
    return rows


def match_files(files: Sequence[Path], clip_ids: Sequence[str]) -> tuple[dict[str, Path], list[Path]]:
    """(clip id -> file, files of no clip). By the whole name first, then by a number that only one clip ends in."""
    by_stem: dict[str, Path] = {}
    for path in files:
        by_stem.setdefault(escaped(path.stem), path)
    found = {clip_id: by_stem[clip_id] for clip_id in clip_ids if clip_id in by_stem}
    numbers: dict[int, list[str]] = {}
    for clip_id in clip_ids:
        match = _NUMBER.search(clip_id)
        if match is not None:
            numbers.setdefault(int(match[1]), []).append(clip_id)
    used = set(found.values())
    if not found:
        for path in files:
            match = _NUMBER.search(path.stem)
            owners = numbers.get(int(match[1]), []) if match is not None else []
            if len(owners) == 1 and owners[0] not in found:
                found[owners[0]] = path
                used.add(path)
    return found, [path for path in files if path not in used]
