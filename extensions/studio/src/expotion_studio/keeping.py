"""What is kept of a session while it is played; the process that plays it loads nothing for it.

frames.part   of each frame time as float64 and length as uint32, big end first, and the JPEG
sound.part    16-bit samples, little end first
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = struct.Struct(">dI")
LONGEST_S = 1800.0
"""A session plays on, but no more than this of it is kept."""


class Keeping:
    """Writes frames and sound as they come. `stopped` says why it does not any more."""

    def __init__(self, folder: Path) -> None:
        self._frames, self._sound = (folder / "frames.part").open("ab"), (folder / "sound.part").open("ab")
        self.stopped = ""

    def frame(self, time_s: float, jpeg: bytes) -> None:
        """A frame at a time of the session."""
        if time_s > LONGEST_S:
            self.stopped = self.stopped or f"{LONGEST_S / 60:.0f} min are kept of a session; it plays on"
        self._write(self._frames, HEAD.pack(time_s, len(jpeg)) + jpeg)

    def sound(self, samples: bytes) -> None:
        """More of the music."""
        self._write(self._sound, samples)

    def close(self) -> None:
        """Write what waits."""
        for file in (self._frames, self._sound):
            try:
                file.close()
            except OSError as error:
                self.stopped = self.stopped or str(error)

    def _write(self, file: Any, data: bytes) -> None:
        if self.stopped:
            return
        try:
            file.write(data)
        except OSError as error:
            self.stopped = f"the session could not be kept any further ({error.strerror}); it plays on"


def frames_of(path: Path) -> Iterator[tuple[float, bytes]]:
    """Times and JPEGs of a session's frames, as far as they are whole."""
    with path.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            time_s, length = HEAD.unpack(head)
            jpeg = file.read(length)
            if len(jpeg) < length:
                return
            yield time_s, jpeg
