"""Where music goes while it is made: speakers, samples on standard output, a file; without waiting for a player."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import streams
from expotion.errors import ExpotionError, Problem
from expotion.files import replacing

SPEAKERS, STANDARD_OUTPUT = "speakers", "-"
LIVE_SUFFIXES = {".wav": "WAV", ".flac": "FLAC"}
"""Suffixes of files that music is written to while it is made, and soundfile's names for them."""

Sink = Callable[[NDArray[np.float32]], None]
_PIPE = "expotion play CLIP --to - | aplay -f S16_LE -r 32000"


class ListenerGone(Exception):
    """Nobody takes the samples any more: the program at the other end has closed."""


def sink_problems(where: str) -> list[Problem]:
    """Why nothing can be played there, found without opening anything."""
    if where == STANDARD_OUTPUT:
        if os.isatty(streams.standard_output()):
            return [Problem("--to -", "a pipe or a file behind it", "a terminal", f"for example {_PIPE}")]
        return []
    if where != SPEAKERS:
        return [Problem("--to", "speakers or -", where, f"for example {_PIPE}")]
    try:
        importlib.import_module("sounddevice").query_devices(kind="output")
    except ImportError:
        fix = f'install "expotion[play]", or use another player: {_PIPE}'
        return [Problem("--to speakers", "the package sounddevice", "none", fix)]
    except Exception as error:  # PortAudio missing, no device: sounddevice raises several kinds
        return [Problem("--to speakers", "a sound device", str(error), f"use another player: {_PIPE}")]
    return []


@contextlib.contextmanager
def open_sink(where: str, sample_rate_hz: int, channels: int = 1) -> Iterator[Sink]:
    """A function that takes samples float32 [n] or [n, 2] in -1..1; returns when all is played or passed on."""
    if where == STANDARD_OUTPUT:
        yield _to_standard_output
        return
    sounddevice: Any = importlib.import_module("sounddevice")
    with sounddevice.OutputStream(samplerate=sample_rate_hz, channels=channels, dtype="float32") as stream:
        yield lambda samples: stream.write(np.ascontiguousarray(samples.reshape(len(samples), -1)))
        stream.stop()  # plays what is waiting


def to_s16le(samples: NDArray[np.float32]) -> bytes:
    """Samples as 16-bit integers, little end first, left before right, clipped to -1..1."""
    return bytes(np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def _to_standard_output(samples: NDArray[np.float32]) -> None:
    data = memoryview(to_s16le(samples))
    try:
        while data:
            data = data[os.write(streams.standard_output(), data) :]
    except BrokenPipeError:
        raise ListenerGone from None
    except OSError as error:
        raise ExpotionError(Problem("standard output", "could not be written", error.strerror)) from error


class Outlet:
    """Takes samples float32 [n] or [n, 2] without waiting for the player: a thread feeds a sink from a queue.

    Speakers begin at `start_s` of the monotonic clock; what is behind a pipe has its own buffer. `sound_file` gets
    every sample at once; `where` None is no player. `gone`: nobody takes samples any more, and no file does.
    """

    def __init__(
        self, where: str | None, sample_rate_hz: int, sound_file: Any | None = None, channels: int = 1
    ) -> None:
        self._where, self._rate_hz, self._file = where, sample_rate_hz, sound_file
        self._channels = channels
        self._queue: queue.Queue[NDArray[np.float32] | None] = queue.Queue()
        self._left = False
        self._error: BaseException | None = None
        self.start_s = 0.0
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        if where is not None:
            self._thread.start()

    @property
    def gone(self) -> bool:
        """Whether the player has left, and there is no file to go on for."""
        return self._left and self._file is None

    def write(self, samples: NDArray[np.float32]) -> None:
        """To the file at once, to the player when it comes to it. Raises what the player raised."""
        if self._file is not None:
            self._file.write(np.clip(samples, -1.0, 1.0))
        if self._error is not None:
            raise self._error
        if self._where is not None and not self._left:
            self._queue.put(samples)

    def close(self) -> None:
        """Wait until everything has been played, and raise what went wrong."""
        if self._where is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _play(self) -> None:
        assert self._where is not None
        try:
            with open_sink(self._where, self._rate_hz, self._channels) as sink:
                samples = self._queue.get()
                if self._where == SPEAKERS:
                    time.sleep(max(0.0, self.start_s - time.monotonic()))
                while samples is not None:
                    sink(samples)
                    samples = self._queue.get()
        except ListenerGone:
            self._left = True
        except BaseException as error:
            self._error = error


@contextlib.contextmanager
def open_outlet(to: str | None, out: Path | None, sample_rate_hz: int, channels: int = 1) -> Iterator[Outlet]:
    """An outlet to a player (`speakers` or `-`), to a file, or to both; to the speakers where neither is named.

    The file appears under its name when the block ends; the player has then played everything.
    """
    with contextlib.ExitStack() as stack:
        sound_file = None
        if out is not None:
            import soundfile

            draft, kind = stack.enter_context(replacing(out)), LIVE_SUFFIXES[out.suffix.lower()]
            sound_file = stack.enter_context(
                soundfile.SoundFile(draft, "w", sample_rate_hz, channels, subtype="PCM_16", format=kind)
            )
        outlet = Outlet(to or (SPEAKERS if out is None else None), sample_rate_hz, sound_file, channels)
        yield outlet
        outlet.close()
