"""Extraction of many clips into the store: small reports come back, the features stay on disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from expotion import machine
from expotion.contracts import Encoder, TimedFeatures
from expotion.errors import FAULTS, MediaError, Problem, in_short
from expotion.features.encoders import CODES, EncodersFactory
from expotion.features.extract import extract_all
from expotion.features.store import FeatureStore
from expotion.files import escaped
from expotion.video.clip import FileClip
from expotion.video.container import VIDEO_NAMES
from expotion.workers import n_workers, spread


@dataclass(frozen=True)
class ClipFile:
    """A file that will be opened as a clip where it is worked on."""

    id: str
    path: str

    def open(self) -> FileClip:
        """The clip. Raises MediaError for a file that cannot be used."""
        return FileClip(self.path, id=self.id)


def find_clips(paths: Sequence[Path]) -> list[ClipFile]:
    """Files, and the videos in folders (recursively), each once; ids are the stems, longer where these clash.

    Raises MediaError for what does not exist and for folders without videos, all of them at once.
    """
    files: dict[Path, None] = {}
    problems = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_NAMES and p.is_file())
            if not inside:
                problems.append(
                    Problem(str(path), f"a folder with videos ({', '.join(sorted(VIDEO_NAMES))})", "none")
                )
            files.update(dict.fromkeys(p.resolve() for p in inside))
        elif path.is_file():
            files[path.resolve()] = None
        else:
            problems.append(Problem(str(path), "a file or a folder", "nothing there"))
    if problems:
        raise MediaError(problems)
    stems = [path.stem for path in files]
    names = [path.stem if stems.count(path.stem) == 1 else str(path) for path in files]
    return [ClipFile(escaped(name), str(path)) for name, path in zip(names, files, strict=True)]


TRIES = 2
"""How often a clip is tried over Ray, where a machine may leave; one whose process dies each time has failed."""
How = Literal["kept", "computed", "failed"]


@dataclass(frozen=True)
class Outcome:
    """One encoder on one clip: rows and coverage (0..1) of what is in the store, or the error."""

    how: How
    rows: int = 0
    coverage: float | None = None
    error: str | None = None


@dataclass
class ClipReport:
    """What became of a clip, by encoder; `seconds` of work."""

    clip: str
    path: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether an encoder has no features of it."""
        return any(outcome.how == "failed" for outcome in self.outcomes.values())

    @property
    def kept(self) -> bool:
        """Whether all was in the store already."""
        return all(outcome.how == "kept" for outcome in self.outcomes.values())


def extract_one(store: FeatureStore, encoders: Mapping[str, Encoder], file: ClipFile) -> ClipReport:
    """Every encoder on one clip, into the store. Never raises for what a clip or an encoder does."""
    began = time.monotonic()
    report = ClipReport(file.id, file.path)
    try:
        clip = file.open()
        there = {name for name, encoder in encoders.items() if store.path(store.key(clip, encoder)).is_file()}
    except FAULTS as error:
        return failed_clip(file, in_short(error))
    n_before = len(store.reports)
    features, failures, report.warnings = extract_all(encoders, clip, store)
    for name, track in features.items():
        replaced = any(f"from {encoders[name].spec.name} are computed" in text for text in store.reports[n_before:])
        how: How = "kept" if name in there and not replaced else "computed"
        coverage = track.coverage if isinstance(track, TimedFeatures) else None
        report.outcomes[name] = Outcome(how, len(track.values), coverage)
    for failure in failures:
        silent = failure.encoder == CODES and not clip.has_audio
        if not silent:  # a silent clip has no codes, which is no fault
            report.outcomes[failure.encoder] = Outcome("failed", error=failure.error)
    unkept = [text for text in store.reports[n_before:] if "are not kept" in text]
    if unkept:
        report.outcomes["store"] = Outcome("failed", error=unkept[0])
    report.seconds = time.monotonic() - began
    return report


def failed_clip(file: ClipFile, reason: str) -> ClipReport:
    """Report of a clip that no encoder got to see."""
    return ClipReport(file.id, file.path, {"clip": Outcome("failed", error=reason)})


def extract(
    files: Sequence[ClipFile],
    factory: EncodersFactory,
    store_folder: Path,
    *,
    workers: int = 0,
    ray: str | None = None,
) -> Iterator[ClipReport]:
    """Reports as they come: in this process, over `workers` processes, or over Ray at an address or 'local'.

    With 0 workers several files go to one process with all threads, a single one stays here. Over Ray, clips and
    the store must lie at the same paths on every machine. Closing the iterator, or an interruption, ends the work;
    the store then holds whole entries only.
    """
    machine.decide()
    threads = 1
    if workers == 0 and ray is None and n_workers(len(files)):
        workers, threads = 1, machine.cores()
    work = partial(extract_one, FeatureStore(store_folder.resolve()))
    tries = 1 if ray is None else TRIES
    for index, result in spread(work, files, build=factory, workers=workers, threads=threads, ray=ray, tries=tries):
        yield failed_clip(files[index], in_short(result)) if isinstance(result, Exception) else result
