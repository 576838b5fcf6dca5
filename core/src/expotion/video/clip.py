"""A file, or a stretch of one, as a clip."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Truth
from expotion.errors import MediaError, Problem
from expotion.files import escaped, file_sha256
from expotion.video.audio import hear
from expotion.video.container import DEFAULT_LIMITS, Limits
from expotion.video.frames import FileVideo
from expotion.video.scan import Require, Scan, check, scan


class FileClip(Clip):
    """A video or sound file from `start_s` on for `duration_s` (default: to its end).

    The file is looked at when the clip is made (timestamps only); nothing is decoded before it is used.
    `require` says what the file must have; `scanned` is its scan, where there is one already. Pickles without
    its frames. Raises MediaError for a file that cannot be used, a window outside it, and a window longer than
    `limits.max_duration_s`.
    """

    def __init__(
        self,
        path: Path | str,
        start_s: float = 0.0,
        duration_s: float | None = None,
        *,
        id: str | None = None,
        caption: str | None = None,
        truth: Truth | None = None,
        tracks: Mapping[str, Path] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        require: Require = "any",
        scanned: Scan | None = None,
    ) -> None:
        self.path: Path = Path(path)
        self.start_s, self._limits = start_s, limits
        self._scan: Scan = scanned or scan(self.path, limits)
        check(self._scan, require)
        left_s = self._scan.duration_s - start_s
        where = str(path)
        if start_s < 0 or left_s <= 0 or (duration_s is not None and duration_s <= 0):
            wanted = f"a start from 0 to {self._scan.duration_s:.2f} s and a positive duration"
            raise MediaError(Problem(where, wanted, f"start {start_s} s, duration {duration_s} s"))
        self.duration_s = left_s if duration_s is None else min(duration_s, left_s)
        if self.duration_s > limits.max_duration_s:
            fix = "cut it into parts; in Python give a start and a duration, or raise max_duration_s"
            got = f"{self.duration_s:.1f} s"
            raise MediaError(Problem(where, f"a clip of at most {limits.max_duration_s:.0f} s", got, fix))
        whole = start_s <= timeline.EPSILON_S and self.duration_s >= self._scan.duration_s - timeline.EPSILON_S
        window = "" if whole else f"@{start_s:.3f}+{self.duration_s:.3f}"
        self.id = id if id is not None else f"{escaped(self.path.stem)}{window}"
        self._window = "" if whole else f"{start_s!r}+{self.duration_s!r}"
        self.caption, self.truth = caption, truth
        self.tracks = dict(tracks or {})
        self._video: FileVideo | None = None
        self._not_numbers = 0
        if require == "video":
            self._open_video()

    @property
    def content_hash(self) -> str:
        """SHA-256 of the file's bytes and the window (not of caption, truth and tracks)."""
        whole = file_sha256(self.path)
        return hashlib.sha256(f"{whole}|{self._window}".encode()).hexdigest() if self._window else whole

    @property
    def has_video(self) -> bool:
        """Whether there is a picture, without opening a decoder."""
        return self._scan.picture is not None

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return self._scan.sound is not None

    @property
    def video(self) -> FileVideo | None:
        """The picture, or None for a sound file. Raises MediaError where fewer than two frames are there."""
        return self._open_video() if self.has_video else None

    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        """Mono float32 [n_samples(duration_s, rate)] from the clip's start, silence at its end; or None."""
        heard = hear(self._scan, sample_rate_hz, self.start_s, self.duration_s)
        self._not_numbers = 0 if heard is None else heard.not_numbers
        return None if heard is None else heard.samples

    @property
    def scanned(self) -> Scan:
        """The file's streams and timestamps."""
        return self._scan

    @property
    def warnings(self) -> list[str]:
        """What a user should know about this file, as found so far."""
        found = [f"{self.path}: {note}" for note in self._scan.notes]
        picture = self._scan.picture
        if picture is not None and picture.damage is not None:
            found.append(f"{self.path}: the picture is damaged ({picture.damage})")
        if self._not_numbers:
            found.append(f"{self.path}: {self._not_numbers} samples are no finite numbers and are taken as 0")
        if self._video is not None and np.isfinite(self._video.decodable_until_s):
            until_s = self._video.decodable_until_s
            found.append(f"{self.path}: frames stop decoding at {until_s:.2f} s; the last good one is repeated")
        if self._video is not None and self._video.changes_size:
            found.append(f"{self.path}: the picture changes its size; all frames are scaled to the first one's")
        return found

    def close(self) -> None:
        """Free decoded frames and the file handle. The clip can be used again."""
        if self._video is not None:
            self._video.close()

    def _open_video(self) -> FileVideo:
        if self._video is None:
            self._video = FileVideo(
                self.path, self.start_s, self.duration_s, limits=self._limits, scanned=self._scan
            )
        return self._video

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_video": None}
