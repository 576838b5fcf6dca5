"""Checkpoints of a training run: whole or absent, and the one before is kept."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
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
_PATTERNS = ("step_*", "checkpoint_*", "ray-*/checkpoint_*")
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


class CheckpointFolder:
    """Checkpoints in a local folder, as `step_NNNNNN/` by the number of steps done.

    Those that Ray wrote before, `ray-*/checkpoint_TIME/`, are found as well, and are older than these.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write one, atomic by rename, and prune the older ones. Leaves nothing behind where it raises."""
        name = f"step_{step:06d}"
        try:
            self._write(name, lambda folder: write_files(folder, step, tensors, state))
            self._remove(self._names()[:-KEPT])
        except OSError as error:
            raise OutputError(Problem(f"{self}/{name}", "could not be written", str(error), WRITE_FIX)) from error

    def load(self) -> Found | None:
        """The newest that is intact, or None; each damaged one that was passed over is named in the notes."""
        notes: list[str] = []
        for name in reversed(self._names()):
            try:
                return *self._read(name), notes
            except (OSError, ValueError) as error:
                notes.append(f"checkpoint {Path(name).name} is damaged ({error}); trying the one before")
        for note in notes:  # all of them are: nobody gets the notes
            log.warning("%s", note)
        return None

    def clear(self) -> None:
        """Remove all: those of another run would outlive the new ones, whose steps are lower."""
        self._remove(self._names())

    def __str__(self) -> str:
        return str(self.folder)

    def _names(self) -> list[str]:
        """What there is, in the order in which it was written."""
        found = [path for pattern in _PATTERNS for path in self.folder.glob(pattern) if path.is_dir()]
        return [path.relative_to(self.folder).as_posix() for path in sorted(found, key=lambda path: path.name)]

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        target, draft = self.folder / name, self.folder / f".draft_{name.removeprefix('step_')}_{os.getpid()}"
        try:
            for killed in self.folder.glob(".draft_*"):  # what a killed process left
                shutil.rmtree(killed, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft)
            if target.exists():
                shutil.rmtree(target)
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return read_files(self.folder / name)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            shutil.rmtree(self.folder / name, ignore_errors=True)


class CheckpointStorage(CheckpointFolder):
    """The same under a URL of those that pyarrow knows, as s3://, gs:// and file://."""

    def __init__(self, url: str) -> None:
        super().__init__(Path())
        self.url = url

    def __str__(self) -> str:
        return self.url

    def _opened(self) -> tuple[Any, Any, str]:
        """pyarrow.fs, the file system, and the path in it."""
        library: Any = importlib.import_module("pyarrow.fs")  # comes with Ray
        return (library, *library.FileSystem.from_uri(self.url))

    def _names(self) -> list[str]:
        library, system, root = self._opened()
        found = system.get_file_info(library.FileSelector(root, allow_not_found=True))
        folders = [file.base_name for file in found if file.type == library.FileType.Directory]
        return sorted(name for name in folders if name.startswith(("checkpoint_", "step_")))

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        library, system, root = self._opened()
        with tempfile.TemporaryDirectory(prefix="expotion-checkpoint-") as folder:
            write(Path(folder))
            system.create_dir(f"{root}/{name}")
            library.copy_files(folder, f"{root}/{name}", destination_filesystem=system)

    def _read(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        library, system, root = self._opened()
        with tempfile.TemporaryDirectory(prefix="expotion-checkpoint-") as folder:
            library.copy_files(f"{root}/{name}", folder, source_filesystem=system)
            return read_files(Path(folder))

    def _remove(self, names: list[str]) -> None:
        _, system, root = self._opened()
        for name in names:
            system.delete_dir(f"{root}/{name}")
