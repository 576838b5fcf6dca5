"""The work on one clip in one process: compose every take, write its files, and say how it went."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from expotion import plugins
from expotion.errors import ExpotionError, Problem, in_short
from expotion.music.composer import Composer, open_composer
from expotion.music.files import asked_for, write_files
from expotion.music.out_of_memory import memory_problem
from expotion.music.steering import Steering
from expotion.music.targets import Output, Takes, Target, check_formats
from expotion.video.clip import FileClip

Progress = Callable[[int, int], None]
Watch = Callable[[Path], AbstractContextManager[Progress]]
"""Gives the progress function for a piece, shown while the block runs."""


@dataclass(frozen=True)
class Outcome:
    """What became of a clip. `fault` is the traceback of an error that is nobody's but the program's."""

    clip: Path
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0
    fault: str | None = None


@dataclass(frozen=True)
class Work:
    """How the work is spread.

    `jobs` processes of one thread each (0: this process with all its threads; None: 0 for files, one per core for
    folders), or the Ray cluster at an address. `overwrite` makes anew what a folder's run has done.
    """

    jobs: int | None = None
    ray: str | None = None
    overwrite: bool = False

    def problems(self) -> list[Problem]:
        """What is wrong with the values by themselves, named as the options of the command."""
        found = []
        if self.jobs is not None and self.jobs < 0:
            found.append(Problem("--jobs", "a whole number of at least 0", str(self.jobs)))
        if self.jobs is not None and self.ray is not None:
            found.append(Problem("--ray", "either --ray or --jobs", "both"))
        return found


@contextlib.contextmanager
def unwatched(piece: Path) -> Iterator[Progress]:
    """Progress that nobody looks at."""
    del piece
    yield lambda done, total: None


@dataclass(frozen=True)
class Job:
    """What is the same for every clip. `threads` 0 leaves torch's own number."""

    steering: Steering
    output: Output
    threads: int = 0

    def open(self) -> Composer:
        """Load adaptor, backbone and encoders with the registry of this process."""
        import torch  # noqa: PLC0415 - the parent of many processes needs none

        if self.threads:
            torch.set_num_threads(self.threads)
        return open_composer(self.steering.folder, plugins.discover(), self.steering.backbone)

    def make(self, composer: Composer, takes: Takes, watch: Watch = unwatched) -> Outcome:
        """Every take of one clip. Raises nothing: what goes wrong is in the outcome, and finished takes stay."""
        started = time.monotonic()
        files: list[Path] = []
        warnings: list[str] = []
        problems: list[Problem] = []
        fault = None
        try:
            with contextlib.closing(FileClip(takes.clip, scanned=takes.source)) as clip:
                check_formats(clip.scanned, self.output.formats)
                for target in takes.targets:
                    files += self._make(composer, clip, target, watch, warnings.append)
        except ExpotionError as error:
            problems = error.problems
        except Exception as error:  # whatever is wrong with one clip, the others are made
            short = memory_problem(str(takes.clip), error)
            problems = [short or Problem(str(takes.clip), "music", in_short(error))]
            fault = None if short is not None else traceback.format_exc()
        seconds, said = time.monotonic() - started, dict.fromkeys(warnings)
        return Outcome(takes.clip, tuple(files), tuple(said), tuple(problems), seconds, fault)

    def _make(
        self, composer: Composer, clip: FileClip, target: Target, watch: Watch, warn: Callable[[str], None]
    ) -> list[Path]:
        import torch  # noqa: PLC0415

        steering = self.steering.model_copy(update={"seed": target.seed})
        asked = asked_for(steering, self.output, target.clip, torch.get_num_threads())
        with watch(target.base) as progress:
            music = composer.compose(clip, steering, on_progress=progress, on_warning=warn)
        return write_files(target, music, clip.scanned, self.output, asked, warn)
