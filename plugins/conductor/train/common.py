"""What both training programs share: the budget, atomic files, clips from the world and the training log."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAINING_LOG = Path(__file__).parents[1] / "TRAINING.md"


@dataclass
class Budget:
    """A training length in steps (reproducible) or, where ``steps`` is None, in minutes of wall time."""

    minutes: float
    steps: int | None = None
    done_steps: int = 0
    done_s: float = 0.0
    starts_at: float = 0.0
    """Progress at the beginning, for a run that only adds to the last part of a training."""
    _started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Seconds used, those before a resume included."""
        return self.done_s + time.monotonic() - self._started

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        share = self.done_steps / self.steps if self.steps else self.elapsed_s / (60.0 * self.minutes)
        return min(1.0, self.starts_at + (1.0 - self.starts_at) * share)

    def run(self) -> Iterator[int]:
        """Step numbers until the budget is spent; the count goes on after a resume."""
        while self.progress < 1.0:
            yield self.done_steps
            self.done_steps += 1

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"done_steps": self.done_steps, "done_s": self.elapsed_s}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from a checkpoint."""
        self.done_steps, self.done_s = int(state["done_steps"]), float(state["done_s"])
        self._started = time.monotonic()


def render_int16(seed_and_duration: tuple[int, float]) -> NDArray[np.int16]:
    """One clip of the world as 16-bit samples at 32 kHz."""
    from expotion_conductor.music import render_music  # noqa: PLC0415
    from expotion_conductor.plan import make_plan  # noqa: PLC0415

    sound = render_music(make_plan(*seed_and_duration))
    return np.round(np.clip(sound, -1.0, 1.0) * 32767.0).astype(np.int16)


def render_clips(seeds: range, duration_s: float, processes: int = 2) -> NDArray[np.int16]:
    """Many clips, int16 [n, samples]."""
    work = [(seed, duration_s) for seed in seeds]
    if processes < 2 or len(work) < 32:
        return np.stack([render_int16(one) for one in work])
    with ProcessPoolExecutor(processes) as pool:
        return np.stack(list(pool.map(render_int16, work, chunksize=16)))


def save_torch(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its place, then move it there."""
    import torch  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(handle.name, path)


def log_section(title: str, lines: list[str], path: Path = TRAINING_LOG) -> None:
    """Write or replace the section ``## title`` of the training log."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# Training log\n"
    head, *sections = text.rstrip("\n").split("\n## ")
    kept = {section.split("\n", 1)[0]: section for section in sections}
    kept[title] = "\n".join([title, "", *lines])
    whole = "\n\n## ".join([head.rstrip("\n"), *(part.rstrip("\n") for part in kept.values())]) + "\n"
    beside = path.with_suffix(".tmp")
    beside.write_text(whole, encoding="utf-8")
    os.replace(beside, path)
