"""The work on one clip in one process: compose every take, write its files, and say how it went."""

from __future__ import annotations

import contextlib
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from expotion import plugins
from expotion.adaptor.checkpoint import DESCRIPTION
from expotion.errors import ExpotionError, Problem, in_short
from expotion.files import file_sha256, sha256_of
from expotion.music.composer import Composer, open_composer
from expotion.music.files import Warn, write_files
from expotion.music.out_of_memory import memory_problem
from expotion.music.steering import Steering
from expotion.music.targets import Output, Takes, Target, check_formats
from expotion.progress import stage_progress
from expotion.video.clip import FileClip


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

    def make(self, composer: Composer, takes: Takes, console: Console | None = None) -> Outcome:
        """Every take of one clip, progress on a console.

        Raises nothing: what goes wrong is in the outcome, and finished takes stay.
        """
        started = time.monotonic()
        files: list[Path] = []
        warnings: list[str] = []
        problems: list[Problem] = []
        fault = None
        try:
            with contextlib.closing(FileClip(takes.clip, scanned=takes.source)) as clip:
                check_formats(clip.scanned, self.output.formats)
                for target in takes.targets:
                    files += self._make(composer, clip, target, console, warnings.append)
        except ExpotionError as error:
            problems = error.problems
        except Exception as error:  # whatever is wrong with one clip, the others are made
            short = memory_problem(str(takes.clip), error)
            problems = [short or Problem(str(takes.clip), "music", in_short(error))]
            fault = None if short is not None else traceback.format_exc()
        seconds, said = time.monotonic() - started, dict.fromkeys(warnings)
        return Outcome(takes.clip, tuple(files), tuple(said), tuple(problems), seconds, fault)

    def _make(
        self, composer: Composer, clip: FileClip, target: Target, console: Console | None, warn: Warn
    ) -> list[Path]:
        asked = self.asked(target)
        steering = self.steering.model_copy(update={"seed": target.seed})
        with stage_progress(console, f"compose {target.base.name}") as progress:
            music = composer.compose(clip, steering, on_progress=progress, on_warning=warn)
        return write_files(target, music, clip.scanned, self.output, asked, warn)

    def asked(self, target: Target) -> dict[str, Any]:
        """What a piece depends on: the same on every call that would make the same files."""
        import torch  # noqa: PLC0415

        steering = self.steering
        borrowed = {name: path for name, path in steering.controls.items() if path is not None}
        return {
            "clip": {"file": str(target.clip.absolute()), "sha256": file_sha256(target.clip)},
            "composing": {**steering.to_json(), "adaptor": steering.named_adaptor, "seed": target.seed},
            "adaptor_sha256": sha256_of(steering.folder / DESCRIPTION),
            "controls_sha256": {name: file_sha256(path) for name, path in borrowed.items()},
            "output": self.output.to_json(),
            "threads": torch.get_num_threads(),
        }
