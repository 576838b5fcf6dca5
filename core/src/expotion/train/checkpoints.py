"""Checkpoints of a training run: whole or absent, and the one before is kept."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from expotion.errors import OutputError, Problem
from expotion.files import WRITE_FIX, sha256_of

log = logging.getLogger("expotion")
KEPT = 2
_DIGEST = "sha256.json"
Found = tuple[dict[str, Tensor], dict[str, Any], list[str]]


class Keeper(Protocol):
    """Where a run's checkpoints are kept."""

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Keep one, after `step` steps. Raises OutputError where it cannot, and then leaves what there was."""
        ...

    def load(self) -> Found | None:
        """(tensors, state, notes) of the newest intact one, or None."""
        ...

    def clear(self) -> None:
        """Forget all of them."""
        ...


def write_files(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """The files of one checkpoint, with their checksums, flushed to disk. Raises OSError."""
    # Not save_file: its error on a full disk is no OSError.
    (folder / "tensors.safetensors").write_bytes(
        to_bytes({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    )
    (folder / "state.json").write_text(json.dumps({"step": step, **state}, indent=1), encoding="utf-8")
    digests = {name: sha256_of(folder / name) for name in ("tensors.safetensors", "state.json")}
    (folder / _DIGEST).write_text(json.dumps(digests), encoding="utf-8")
    for name in [*digests, _DIGEST]:
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def read_files(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, state) of one checkpoint. Raises OSError or ValueError where it is not intact."""
    digests = json.loads((folder / _DIGEST).read_text(encoding="utf-8"))
    damaged = [name for name, digest in digests.items() if sha256_of(folder / name) != digest]
    if damaged:
        raise ValueError(f"checksum of {', '.join(damaged)} does not match")
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return load_file(folder / "tensors.safetensors"), state


@dataclass(frozen=True)
class CheckpointFolder:
    """Checkpoints in a local folder, as `step_NNNNNN/` by the number of steps done."""

    folder: Path

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write one, atomic by rename, and prune the older ones. Leaves nothing behind where it raises."""
        target = self.folder / f"step_{step:06d}"
        draft = self.folder / f".draft_{step:06d}_{os.getpid()}"
        try:
            for killed in self.folder.glob(".draft_*"):  # what a killed process left
                shutil.rmtree(killed, ignore_errors=True)
            draft.mkdir(parents=True)
            write_files(draft, step, tensors, state)
            if target.exists():
                shutil.rmtree(target)
            draft.rename(target)
        except OSError as error:
            raise OutputError(Problem(str(target), "could not be written", str(error), WRITE_FIX)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._remove(self._all()[:-KEPT])

    def load(self) -> Found | None:
        """The newest that is intact, or None; each damaged one that was passed over is named in the notes."""
        notes: list[str] = []
        for path in reversed(self._all()):
            try:
                return *read_files(path), notes
            except (OSError, ValueError) as error:
                notes.append(f"checkpoint {path.name} is damaged ({error}); trying the one before")
        for note in notes:  # all of them are: nobody gets the notes
            log.warning("%s", note)
        return None

    def clear(self) -> None:
        """Remove all: those of another run would outlive the new ones, whose steps are lower."""
        self._remove(self._all())

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"))

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
