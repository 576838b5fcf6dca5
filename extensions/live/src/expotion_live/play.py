"""Where streamed music goes: the speakers, or samples on standard output for another program to play."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError, Problem
from expotion.music.checks import (
    clip_problems,
    control_problems,
    find_adaptor,
    name_problems,
    read_facts,
    schedule_problems,
)
from expotion.music.composer import open_composer
from expotion.music.steering import Composing
from expotion.plugins import Registry
from expotion.progress import stage_progress

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


# `expotion generate --play-stream`: music that is heard while it is decoded.


def play_stream(
    *,
    clips: Sequence[Path],
    registry: Registry,
    composing: Composing,
    where: str,
    console: Console,
    problems: Sequence[Problem] = (),
) -> None:
    """Play one clip's music while it decodes; nothing is written.

    Raises ExpotionError with everything that is wrong before anything is loaded. A listener that leaves ends it.
    """
    found = [*problems, *composing.problems(), *schedule_problems(composing), *sink_problems(where)]
    if len(clips) != 1 or clips[0].is_dir():
        got = "a folder" if len(clips) == 1 else f"{len(clips)} clips"
        found.append(Problem("--play-stream", "one clip", got))
    try:
        adaptor = find_adaptor(composing.adaptor, registry, composing.backbone)
        found += name_problems(composing, read_facts(adaptor))
    except ExpotionError as error:
        found += error.problems
    found += control_problems(composing)
    found += [p for each in clip_problems([c for c in clips if not c.is_dir()], ()).values() for p in each]
    if found:
        raise ExpotionError(found)
    with stage_progress(console, "load models"):
        composer = open_composer(adaptor, registry, composing.backbone)
    warned: list[str] = []
    chunks = composer.stream(clips[0], **composing.keywords(), seed=composing.seed, on_warning=warned.append)
    started = time.monotonic()
    made_s, waited_s, first_s = 0.0, 0.0, None
    try:
        with open_sink(where, composer.backbone.sample_rate_hz) as sink:
            asked = started
            for chunk in chunks:
                waited_s += time.monotonic() - asked
                if first_s is None:
                    first_s = time.monotonic() - started
                    for text in warned:
                        console.print(f"[yellow]warning[/] {escape(text)}", soft_wrap=True, highlight=False)
                made_s = chunk.start_s + len(chunk.samples) / chunk.sample_rate_hz
                sink(chunk.samples)
                asked = time.monotonic()
    except ListenerGone:
        console.print(f"the listener left after {made_s:.1f} s", highlight=False)
        return
    decoding_s = max(1e-9, waited_s - (first_s or 0.0))
    console.print(
        f"{made_s:.1f} s of music; the first sound after {first_s or 0.0:.1f} s, "
        f"then decoded at {made_s / decoding_s:.1f} times real time",
        highlight=False,
    )
