"""Where streamed music goes: the speakers, or samples on standard output for another program to play."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem

SPEAKERS, STANDARD_OUTPUT = "speakers", "-"
Sink = Callable[[NDArray[np.float32]], None]
_PIPE = "expotion generate CLIP --play-stream - | aplay -f S16_LE -r 32000"


class ListenerGone(Exception):
    """Nobody takes the samples any more: the program at the other end has closed."""


def sink_problems(where: str) -> list[Problem]:
    """Why nothing can be played there, found without opening anything."""
    if where == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            return [
                Problem("--play-stream -", "a pipe or a file behind it", "a terminal", f"for example {_PIPE}")
            ]
        return []
    if where != SPEAKERS:
        return [Problem("--play-stream", "nothing or - after it", where, f"for example {_PIPE}")]
    try:
        importlib.import_module("sounddevice").query_devices(kind="output")
    except ImportError:
        fix = f'install "expotion[play]", or use another player: {_PIPE}'
        return [Problem("--play-stream", "the package sounddevice", "none", fix)]
    except Exception as error:  # PortAudio missing, no device: sounddevice raises several kinds
        return [Problem("--play-stream", "a sound device", str(error), f"use another player: {_PIPE}")]
    return []


@contextmanager
def open_sink(where: str, sample_rate_hz: int) -> Iterator[Sink]:
    """A function that takes samples float32 [n] in -1..1; returns when all has been played or passed on."""
    if where == STANDARD_OUTPUT:
        yield _to_standard_output
        return
    sounddevice: Any = importlib.import_module("sounddevice")
    with sounddevice.OutputStream(samplerate=sample_rate_hz, channels=1, dtype="float32") as stream:
        yield lambda samples: stream.write(np.ascontiguousarray(samples[:, None]))
        stream.stop()  # plays what is waiting


def to_s16le(samples: NDArray[np.float32]) -> bytes:
    """Samples as 16-bit integers, little end first, clipped to -1..1."""
    return bytes(np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def _to_standard_output(samples: NDArray[np.float32]) -> None:
    data = memoryview(to_s16le(samples))
    try:
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]
    except BrokenPipeError:
        raise ListenerGone from None
    except OSError as error:
        raise ExpotionError(Problem("standard output", "could not be written", error.strerror)) from error
