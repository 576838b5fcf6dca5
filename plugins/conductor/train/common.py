"""What the training programs share: memory, atomic files, the history of a run and the training log."""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

TRAINING_LOG = Path(__file__).parents[1] / "TRAINING.md"


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


def keep_memory() -> None:
    """Let the C library keep freed memory: a step of a codec asks for the same gigabyte again and again, and a
    fifth of its time goes into fresh pages otherwise. Linux with glibc only; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)


class History:
    """Rows of a training as JSON lines; what lies after the checkpoint's step is dropped on a resume."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self._sums: dict[str, list[float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in self.rows() if row["step"] <= step] if step else []
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """All that were written."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def add(self, losses: dict[str, float]) -> None:
        """Count the losses of a step into the next row."""
        for name, value in losses.items():
            self._sums.setdefault(name, []).append(value)

    def write(self, row: dict[str, Any]) -> None:
        """A row, with the means of the losses since the last that had any."""
        means = {} if "held_out" in row else {k: round(float(np.mean(v)), 4) for k, v in self._sums.items()}
        if means:
            self._sums = {}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | means) + "\n")
        print(json.dumps(row | means), flush=True)
