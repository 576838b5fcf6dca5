"""Extraction of many clips into the store: small reports come back, the features stay on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from expotion.assemble import CODES, EncoderFactory, build_encoder, build_encoders
from expotion.contracts import Encoder, TimedFeatures
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.features.extract import extract_all, map_in_processes, one_thread
from expotion.features.store import FeatureStore
from expotion.video.clip import FileClip
from expotion.workers import connect

# Clips of files and folders, cheap to send to another process.

SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts"})
"""What is taken from a folder; a file that is named itself may have any ending."""


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
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                problems.append(
                    Problem(str(path), f"a folder with videos ({', '.join(sorted(SUFFIXES))})", "none")
                )
            files.update(dict.fromkeys(p.resolve() for p in inside))
        elif path.is_file():
            files[path.resolve()] = None
        else:
            problems.append(Problem(str(path), "a file or a folder", "nothing there"))
    if problems:
        raise MediaError(problems)
    stems = [path.stem for path in files]
    return [ClipFile(path.stem if stems.count(path.stem) == 1 else str(path), str(path)) for path in files]


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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class EncodersFactory:
    """Builds the encoders of a recipe or one by name, in whichever process; plain data in."""

    recipe: dict[str, Any] | None = None
    encoder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    codec_source: str | None = None
    """With it the codec is among a recipe's encoders, so that the music's codes are kept, too."""

    def __call__(self) -> dict[str, Encoder]:
        """Encoders by name."""
        from expotion.plugins import discover  # noqa: PLC0415 - runs in the worker
        from expotion.recipe import Recipe  # noqa: PLC0415

        if self.recipe is None:
            return {self.encoder: build_encoder(discover().encoder(self.encoder), self.options)}
        if self.codec_source is not None:
            return EncoderFactory(self.recipe, self.codec_source)()
        return build_encoders(Recipe.from_dict(self.recipe), discover())


def extract_one(store: FeatureStore, encoders: Mapping[str, Encoder], file: ClipFile) -> ClipReport:
    """Every encoder on one clip, into the store. Never raises for what a clip or an encoder does."""
    began = time.monotonic()
    report = ClipReport(file.id, file.path)
    try:
        clip = file.open()
        there = {name for name, encoder in encoders.items() if store.path(store.key(clip, encoder)).is_file()}
    except Exception as error:
        return failed_clip(
            file, str(error) if isinstance(error, ExpotionError) else f"{type(error).__name__}: {error}"
        )
    n_before = len(store.reports)
    features, failures, report.warnings = extract_all(encoders, clip, store)
    for name, track in features.items():
        replaced = any(
            f"from {encoders[name].spec.name} are computed" in text for text in store.reports[n_before:]
        )
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

    Closing the iterator, or an interruption, ends the work; the store then holds whole entries only.
    """
    store = FeatureStore(store_folder)
    if ray is not None:
        yield from extract_over_ray(files, factory, store_folder, address=ray, workers=workers)
    elif workers > 1:
        work: Callable[[Mapping[str, Encoder], ClipFile], ClipReport] = partial(extract_one, store)
        for _, report in map_in_processes(files, work, failed_clip, workers, factory):
            yield report
    else:
        encoders = factory()
        if workers == 1:
            one_thread()
        for file in files:
            yield extract_one(store, encoders, file)


# Extraction over a cluster with Ray Data: actors that build the encoders once and write to the store.

TRIES = 2
"""How often a clip is given to an actor; one that kills each of them is reported."""
LOCAL_STORE_BYTES = 100_000_000
"""Shared memory of a Ray that is started here: only names and reports travel."""


class Extractor:
    """An actor: encoders once, then clips. Batches hold `id` and `path`, and come back as reports in JSON."""

    def __init__(self, factory: EncodersFactory, store_folder: str) -> None:
        self.encoders = factory()
        self.store = FeatureStore(store_folder)
        one_thread()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Extract the clips of a batch."""
        files = [ClipFile(str(i), str(p)) for i, p in zip(batch["id"], batch["path"], strict=True)]
        return {"report": [json.dumps(extract_one(self.store, self.encoders, f).to_json()) for f in files]}


def extract_over_ray(
    files: Sequence[ClipFile], factory: EncodersFactory, store_folder: Path, *, address: str, workers: int
) -> Iterator[ClipReport]:
    """Reports as they come. `address` is 'local' (starts one here), 'auto', HOST:PORT or ray://HOST:PORT.

    Clips and the store must lie at the same paths on every machine. A clip whose actor dies is tried again on
    another one, TRIES times in all, and then reported. Raises ExpotionError where Ray is not installed or nothing
    answers at the address.
    """
    ray = connect(address, cpus=max(1, workers) + 1, store_bytes=LOCAL_STORE_BYTES)
    from ray import data  # noqa: PLC0415

    context = data.DataContext.get_current()
    context.max_errored_blocks = -1  # a clip that is lost with its actor does not end the job
    context.enable_progress_bars = False
    rows = [{"id": file.id, "path": file.path} for file in files]
    missing = {file.id: file for file in files}
    try:
        mapped = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Extractor,
            fn_constructor_args=(factory, str(store_folder.resolve())),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=max(1, workers)),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=TRIES - 1,
        )
        for row in mapped.iter_rows():
            report = _report(json.loads(row["report"]))
            if missing.pop(report.clip, None) is not None:
                yield report
    except ray.exceptions.RayError as error:
        reason = f"the Ray job ended ({type(error).__name__}: {str(error).strip().splitlines()[-1]})"
    else:
        reason = f"its process died {TRIES} times; it may have run out of memory"
    finally:
        if address == "local":
            ray.shutdown()
    for file in missing.values():
        yield failed_clip(file, reason)


def _report(plain: dict[str, Any]) -> ClipReport:
    outcomes = {name: Outcome(**outcome) for name, outcome in plain.pop("outcomes").items()}
    return ClipReport(outcomes=outcomes, **plain)
