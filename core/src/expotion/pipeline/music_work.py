"""The work on one clip in one process: compose every take, write its files, and say how it went."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from expotion.data.clip import FileClip
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.pipeline.composer import Composer
from expotion.pipeline.composer_load import open_composer
from expotion.pipeline.music_checks import format_problems
from expotion.pipeline.music_files import write_files
from expotion.pipeline.music_options import Composing, Output
from expotion.pipeline.out_of_memory import memory_problem
from expotion.pipeline.record import asked_for
from expotion.pipeline.targets import Target

Progress = Callable[[int, int], None]
Watch = Callable[[Path], AbstractContextManager[Progress]]
"""Gives the progress function for a clip, shown while the block runs."""


@dataclass(frozen=True)
class Job:
    """What is the same for every clip. `adaptor` holds adaptor.json; `threads` 0 leaves torch's own number."""

    composing: Composing
    output: Output
    adaptor: Path
    threads: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a clip. `fault` is the traceback of an error that is nobody's but the program's."""

    clip: Path
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    fault: str | None = None


@dataclass
class Maker:
    """A process's composer and what it is to do."""

    job: Job
    composer: Composer
    threads: int


@dataclass(frozen=True)
class Opener:
    """Makes a process's `Maker`: a picklable function without arguments."""

    job: Job

    def __call__(self) -> Maker:
        """Load adaptor, backbone and encoders with the registry of this process."""
        import torch  # noqa: PLC0415 - the parent of many processes needs none

        from expotion import plugins  # noqa: PLC0415

        if multiprocessing.parent_process() is not None:
            signal.signal(signal.SIGTERM, _leave)
        if self.job.threads:
            torch.set_num_threads(self.job.threads)
        composer = open_composer(self.job.adaptor, plugins.discover(), self.job.composing.backbone)
        return Maker(self.job, composer, torch.get_num_threads())


def _leave(number: int, frame: FrameType | None) -> None:
    """End a worker the ordinary way, so that drafts of files are removed."""
    sys.exit(128 + number)


@contextlib.contextmanager
def unwatched(clip: Path) -> Iterator[Progress]:
    """Progress that nobody looks at."""
    del clip
    yield lambda done, total: None


def make_clip(maker: Maker, targets: tuple[Target, ...], watch: Watch = unwatched) -> Outcome:
    """Every take of one clip. Raises nothing: what goes wrong is in the outcome, and finished takes stay."""
    import traceback  # noqa: PLC0415

    started = time.monotonic()
    path = targets[0].clip
    files: list[Path] = []
    warnings: list[str] = []
    problems: list[Problem] = []
    fault = None
    try:
        with contextlib.closing(FileClip(path)) as clip:
            wrong = format_problems(clip.scanned, maker.job.output.formats)
            if wrong:
                raise MediaError(wrong)
            for target in targets:
                files += _make(maker, clip, target, watch, warnings)
    except ExpotionError as error:
        problems = error.problems
    except Exception as error:  # whatever is wrong with one clip, the others are made
        short = memory_problem(str(path), error)
        problems = [short or Problem(str(path), "music", f"{type(error).__name__}: {error}")]
        fault = None if short is not None else traceback.format_exc()
    seconds = time.monotonic() - started
    return Outcome(path, tuple(files), tuple(dict.fromkeys(warnings)), tuple(problems), seconds, fault)


def _make(maker: Maker, clip: FileClip, target: Target, watch: Watch, warnings: list[str]) -> list[Path]:
    job = maker.job
    asked = asked_for(job.composing, job.output, target, job.adaptor, maker.threads)
    with watch(target.base) as progress:
        music = maker.composer.compose(
            clip,
            **job.composing.keywords(),
            seed=target.seed,
            on_progress=progress,
            on_warning=warnings.append,
        )
    notes: dict[str, Any] = dict(music.notes)
    return write_files(
        target,
        music.samples,
        music.sample_rate_hz,
        clip.duration_s,
        job.output,
        asked,
        notes,
        warnings.append,
    )
