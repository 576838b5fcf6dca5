"""Where live music goes: a player in a thread of its own, and a file that is whole whenever it ends."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.files import replacing
from expotion.pipeline.listening import SPEAKERS, ListenerGone, open_sink

LIVE_SUFFIXES = (".wav", ".flac")
_KINDS = {".wav": "WAV", ".flac": "FLAC"}


class Outlet:
    """Takes samples float32 [n] without waiting for the player. `gone`: the player has left."""

    def __init__(self, sound_file: Any | None, player: Player | None) -> None:
        self._file, self._player = sound_file, player

    @property
    def gone(self) -> bool:
        """Whether nobody takes samples any more, and there is no file to go on for."""
        return self._player is not None and self._player.gone and self._file is None

    def start(self, at_s: float) -> None:
        """The player begins at this time of the monotonic clock, or with the first samples after it."""
        if self._player is not None:
            self._player.start_s = at_s

    def write(self, samples: NDArray[np.float32]) -> None:
        """To the file at once, to the player when it comes to it. Raises what the player raised."""
        if self._file is not None:
            self._file.write(np.clip(samples, -1.0, 1.0))
        if self._player is not None:
            self._player.give(samples)


class Player:
    """Feeds a sink from a queue; speakers begin at `start_s`, what is behind a pipe has its own buffer."""

    def __init__(self, where: str, sample_rate_hz: int) -> None:
        self._queue: queue.Queue[NDArray[np.float32] | None] = queue.Queue()
        self.start_s = 0.0
        self._where, self._rate_hz = where, sample_rate_hz
        self.gone = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    def give(self, samples: NDArray[np.float32]) -> None:
        """Play these next. Raises what went wrong with those before."""
        if self._error is not None:
            raise self._error
        if not self.gone:
            self._queue.put(samples)

    def close(self) -> None:
        """Wait until everything has been played, and raise what went wrong."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _play(self) -> None:
        try:
            with open_sink(self._where, self._rate_hz) as sink:
                samples = self._queue.get()
                if self._where == SPEAKERS:
                    time.sleep(max(0.0, self.start_s - time.monotonic()))
                while samples is not None:
                    sink(samples)
                    samples = self._queue.get()
        except ListenerGone:
            self.gone = True
        except BaseException as error:
            self._error = error


@contextlib.contextmanager
def open_outlet(play: str | None, out: Path | None, sample_rate_hz: int) -> Iterator[Outlet]:
    """An outlet to a player (`speakers` or `-`), to a file, or to both; to the speakers where neither is named.

    The file appears under its name when the block ends; the player has then played everything.
    """
    where = play if play is not None or out is not None else SPEAKERS
    with contextlib.ExitStack() as stack:
        sound_file = None
        if out is not None:
            import soundfile  # noqa: PLC0415

            draft = stack.enter_context(replacing(out))
            kind = _KINDS[out.suffix.lower()]
            sound_file = stack.enter_context(
                soundfile.SoundFile(draft, "w", sample_rate_hz, 1, subtype="PCM_16", format=kind)
            )
        player = None if where is None else Player(where, sample_rate_hz)
        yield Outlet(sound_file, player)
        if player is not None:
            player.close()
