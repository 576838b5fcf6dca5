"""`expotion generate --live`: music while frames arrive, to the speakers, standard output or a file."""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError, Problem
from expotion.pipeline.composer import Composer
from expotion.pipeline.composer_load import open_composer
from expotion.pipeline.listening import sink_problems
from expotion.pipeline.live import LiveSession
from expotion.pipeline.live_asked import LiveAsked
from expotion.pipeline.live_clock import Clock, Delay
from expotion.pipeline.live_frames import Arriving, Pictures, open_pictures
from expotion.pipeline.live_sink import LIVE_SUFFIXES, Outlet, open_outlet
from expotion.pipeline.music_checks import find_adaptor, name_problems, read_facts, schedule_problems
from expotion.pipeline.music_options import Composing
from expotion.pipeline.progress import stage_progress
from expotion.plugins import Registry

DEFAULT_HOP_S, DEFAULT_WINDOW_S = 1.0, 5.0
LOOK_AHEAD_FRAMES = 7
"""Codec frames that decoding waits for (`backbone/codec_stream.py`)."""


def play_live(
    asked: LiveAsked,
    *,
    registry: Registry,
    composing: Composing,
    console: Console,
    problems: Sequence[Problem] = (),
) -> Path | None:
    """Make music for frames as they come until they end or Ctrl-C comes; returns the file written, if any.

    Raises ExpotionError with everything that is wrong before anything is loaded.
    """
    found = [*problems, *composing.problems(), *schedule_problems(composing), *_problems(asked, composing)]
    adaptor = composing.adaptor
    hop_s, window_s = asked.hop_s or DEFAULT_HOP_S, asked.window_s
    try:
        adaptor = find_adaptor(composing.adaptor, registry, composing.backbone)
        facts = read_facts(adaptor)
        found += name_problems(composing, facts)
        window_s = window_s or max(min(DEFAULT_WINDOW_S, facts.window_s), min(2 * hop_s, facts.window_s))
        if facts.window_s and not hop_s < window_s <= facts.window_s:
            wanted = f"--hop below --window, and that at most {facts.window_s:g} s, the length trained on"
            found.append(Problem("--live", wanted, f"--hop {hop_s:g} --window {window_s:g}"))
    except ExpotionError as error:
        found += error.problems
    pictures: Pictures | None = None
    try:
        pictures = open_pictures(asked.where)
    except ExpotionError as error:
        found += error.problems
    if found:
        if pictures is not None:
            pictures.close()
        raise ExpotionError(found)
    assert pictures is not None and adaptor is not None
    with contextlib.closing(pictures):
        with stage_progress(console, "load models"):
            composer = open_composer(adaptor, registry, composing.backbone)

        def session() -> LiveSession:
            return _session(composer, composing, hop_s, window_s)

        with stage_progress(console, "rehearse"):
            work_s = session().rehearse(pictures.size, pictures.fps)
        live = session()
        delay = Delay(hop_s, work_s, LOOK_AHEAD_FRAMES / composer.backbone.frame_rate_hz)
        _say_start(console, pictures, live, window_s or hop_s, delay)
        with open_outlet(asked.play, asked.out, live.sample_rate_hz) as outlet:
            _run(live, pictures, outlet, delay, console)
    return asked.out


def _run(live: LiveSession, pictures: Pictures, outlet: Outlet, delay: Delay, console: Console) -> None:
    """The loop: frames in, music out, a warning wherever it comes too late."""
    with _interruptible() as stop, Arriving(pictures) as arriving:
        clock = Clock(live.sample_rate_hz, arriving.started_s, delay.player_s)
        outlet.start(arriving.started_s + delay.player_s)
        busy_s, hops, last_s = 0.0, 0, 0.0

        def take(samples: NDArray[np.float32]) -> None:
            if not len(samples):
                return
            late_s = clock.chunk(len(samples), time.monotonic())
            if late_s > 0:
                at_s = (clock.done - len(samples)) / clock.rate_hz
                text = f"the music at {at_s:.1f} s came {late_s:.2f} s too late"
                console.print(f"[yellow]warning[/] {text}", soft_wrap=True, highlight=False)
            outlet.write(samples)
            if outlet.gone:
                stop.set()

        for frame, time_s in arriving.until(stop):
            before = live.made_s
            live.push_frames(frame[None], np.array([time_s]))
            if live.made_s > before:
                busy_s, hops = busy_s + live.work_s, hops + 1
            take(live.read())
            last_s = time_s
        whole_s = getattr(pictures, "end_s", None) if not stop.is_set() else None
        take(live.finish(whole_s))
        said = clock.summary(busy_s, hops * delay.hop_s, arriving.left_out, last_s)
        console.print(said, soft_wrap=True, highlight=False)


def _session(composer: Composer, composing: Composing, hop_s: float, window_s: float | None) -> LiveSession:
    return LiveSession(
        composer,
        prompt=composing.prompt,
        strength=composing.strengths,
        guidance=composing.guidance,
        muted=tuple(composing.controls),
        seed=composing.seed,
        hop_s=hop_s,
        window_s=window_s,
        precision=composing.precision,
        cfg_scale=composing.cfg_scale,
        temperature=composing.temperature,
        top_k=composing.top_k,
        top_p=composing.top_p,
    )


def _say_start(
    console: Console, pictures: Pictures, live: LiveSession, window_s: float, delay: Delay
) -> None:
    height, width = pictures.size
    hop_s, work_s = delay.hop_s, delay.work_s
    lines = [
        f"{pictures.name}: {width}x{height}, {pictures.fps:.0f} frames a second. Ctrl-C ends it.",
        f"Look-ahead {hop_s:g} s: music is made {hop_s:g} s at a time and follows the {window_s:g} s of frames up "
        "to the end of each stretch.",
        f"Latency {delay.ready_s:.2f} s: {hop_s:g} s until its frames are there, {work_s:.2f} s to make it, "
        f"{delay.codec_s:.2f} s for the codec; played {delay.player_s:.2f} s behind the frames.",
    ]
    for line in lines:
        console.print(escape(line), soft_wrap=True, highlight=False)
    for name in live.without_frames:
        console.print(f"[yellow]warning[/] {escape(name)} needs more than pictures and is left out")
    if work_s > 0.8 * hop_s:
        text = f"{work_s:.2f} s to make {hop_s:g} s of music is too slow to keep up; try a shorter --window"
        console.print(f"[yellow]warning[/] {text}", soft_wrap=True, highlight=False)


def _problems(asked: LiveAsked, composing: Composing) -> list[Problem]:
    """What is wrong with the options by themselves."""
    found = []
    for option, value in (("--hop", asked.hop_s), ("--window", asked.window_s)):
        if value is not None and not 0.1 <= value < 3600.0:
            found.append(Problem(option, "a number of seconds of at least 0.1", f"{value:g}"))
    if asked.play is not None or asked.out is None:
        found += sink_problems(asked.play or "speakers")
    if composing.overlap_s is not None:
        found.append(Problem("--live", "not together with --overlap", None, "give --window and --hop"))
    for name, path in composing.controls.items():
        if path is not None:
            found.append(Problem(f"--control {name}={path}", "no clips to take controls from in --live"))
    if asked.out is not None:
        if asked.out.suffix.lower() not in LIVE_SUFFIXES:
            wanted = f"a name that ends in {' or '.join(LIVE_SUFFIXES)}"
            found.append(Problem(f"--out {asked.out}", wanted, asked.out.suffix or "no suffix"))
        try:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=asked.out.parent, prefix=".expotion-"):
                pass
        except OSError as error:
            found.append(Problem(str(asked.out.parent), "cannot be written to", error.strerror))
    return found


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that what is being made is finished; the second ends at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
