"""The data source `manifest`: clips of a prepared and split folder, for recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, DataSource
from expotion.errors import MediaError, Problem
from expotion.files import file_sha256
from expotion.manifest.rows import ManifestError, ManifestOptions, Row, read_manifest
from expotion.video.clip import FileClip
from expotion.video.frames import FileVideo
from expotion.video.scan import Scan

FIX = "run `expotion data prepare` again"


def differences(row: Row, found: Scan, where: str) -> list[Problem]:
    """What a row states of its file and is not so: its length, its sound, the sound's rate."""
    problems = []
    where = f"{where} ({row.id})"
    left_s = found.duration_s - row.start_s
    if row.duration_s > left_s + 1e-3:
        wanted = f"{row.duration_s:.3f} s from {row.start_s:.3f} s on"
        problems.append(Problem(where, wanted, f"a file of {found.duration_s:.3f} s", FIX))
    if found.sound is None:
        problems.append(Problem(where, "a file with sound", "none", FIX))
    elif row.sample_rate_hz not in {None, found.sound.sample_rate_hz}:
        got = f"{found.sound.sample_rate_hz} Hz"
        problems.append(Problem(f"{where}: sample_rate_hz", f"{row.sample_rate_hz} Hz", got, FIX))
    return problems


class ManifestClip(Clip):
    """A row of a manifest. The file is opened when it is used; its content must be what was prepared."""

    def __init__(self, row: Row, folder: Path) -> None:
        self.row, self.id, self.duration_s, self.caption = row, row.id, row.duration_s, row.caption
        self.path: Path = row.file(folder)
        self.tracks: dict[str, Path] = {}
        self._file: FileClip | None = None

    @property
    def content_hash(self) -> str:
        """Hash of the file's bytes, as the manifest states them, and the stretch: that of `FileClip`."""
        if self.row.whole:
            return self.row.file_sha256
        window = f"{self.row.start_s!r}+{self.row.duration_s!r}"
        return hashlib.sha256(f"{self.row.file_sha256}|{window}".encode()).hexdigest()

    @property
    def video(self) -> FileVideo | None:
        """The picture. Raises MediaError for a file that has changed since it was prepared."""
        return self._opened().video

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        """Mono float32 [n_samples(duration_s, rate)] from any rate and number of channels."""
        return self._opened().audio(sample_rate_hz)

    def close(self) -> None:
        """Free frames and handles."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> FileClip:
        if self._file is None:
            file = FileClip(self.path, self.row.start_s, self.row.duration_s)
            if file_sha256(self.path) != self.row.file_sha256:
                wanted, got = "the file that was prepared", "another content"
                raise MediaError(Problem(str(self.path), wanted, got, FIX))
            if problems := differences(self.row, file.scanned, str(self.path)):
                raise MediaError(problems)
            self._file = file
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}


class ManifestSource(DataSource):
    """Clips of a manifest by split."""

    def __init__(self, options: ManifestOptions) -> None:
        self.options = options

    def clips(self, split: Literal["train", "test"]) -> Sequence[ManifestClip]:
        """Clips of a split in the manifest's order. Raises ManifestError: bad lines, lost files, an empty split."""
        name = self.options.split if split == "test" else "train"
        found = self._of(name)
        if not found:
            path = self.options.path
            told = [f"{len(self._of(part))} {part}" for part in ("train", "validation", "test")]
            got = f"{len(self._rows)} clips: {', '.join(told)}"
            fix = f"run `expotion data split {path}`"
            raise ManifestError(Problem(str(path), f"at least one clip in the split {name!r}", got, fix))
        return found[: self.options.train_clips if split == "train" else self.options.test_clips]

    def validation(self) -> Sequence[ManifestClip]:
        """The part `validation`, unless clips are evaluated on it."""
        return [] if self.options.split == "validation" else self._of("validation")

    @cached_property
    def _rows(self) -> list[Row]:
        return read_manifest(self.options.path, files=True)

    def _of(self, part: str) -> list[ManifestClip]:
        return [ManifestClip(row, self.options.path.parent) for row in self._rows if row.split == part]
