"""`expotion live`: music while frames arrive, to the speakers, standard output or a file."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.markup import escape

from expotion import plugins
from expotion.errors import ExpotionError, Problem
from expotion.features.material import unknown_text
from expotion.music.composer import open_composer
from expotion.music.steering import Steering
from expotion.music.targets import unwritable
from expotion.progress import stage_progress
from expotion_live.eye import SPAN_S
from expotion_live.frames import Arriving, Pictures, open_pictures
from expotion_live.loop import Clock, Delay, Made, music
from expotion_live.session import HOP_S, LiveSession, Looking
from expotion_live.signals import Signals, open_signals, signal_problems
from expotion_live.sink import LIVE_SUFFIXES, SPEAKERS, Outlet, open_outlet, sink_problems
from expotion_live.watching import watch

WARNING = "[yellow]warning[/]"


@dataclass(frozen=True)
class Sounding:
    """Where music goes and how it is made, and where what is seen is sent (`signals.py`)."""

    to: str | None = None
    out: Path | None = None
    hop_s: float = HOP_S
    window_s: float | None = None
    osc: str | None = None
    midi_port: str | None = None

    @property
    def signals(self) -> bool:
        """Whether what is seen is sent anywhere."""
        return self.osc is not None or self.midi_port is not None


def play_live(
    source: str, steering: Steering, sounding: Sounding, *, console: Console, problems: Sequence[Problem] = ()
) -> None:
    """Make music for frames as they come until they end or Ctrl-C comes.

    Raises ExpotionError with everything that is wrong before anything is loaded.
    """
    found = [*problems, *_problems(sounding, steering)]
    hop_s, window_s = sounding.hop_s, sounding.window_s
    longest_s = 0.0
    with contextlib.suppress(ExpotionError):  # an adaptor that is not there has been found out before
        longest_s = steering.window_s
    window_s = window_s or longest_s
    if longest_s and not hop_s < window_s <= longest_s:
        wanted = f"--hop below --window, and that at most {longest_s:g} s, the length trained on"
        found.append(Problem("live", wanted, f"--hop {hop_s:g} --window {window_s:g}"))
    with contextlib.ExitStack() as stack:
        try:
            pictures = stack.enter_context(contextlib.closing(open_pictures(source)))
        except ExpotionError as error:
            found += error.problems
        if found:
            raise ExpotionError(found)
        steering.say_adaptor(console)
        with stage_progress(console, "load models"):
            composer = open_composer(steering.folder, plugins.discover(), steering.backbone)
        session = functools.partial(LiveSession, composer, steering, hop_s=hop_s, window_s=window_s)
        with stage_progress(console, "rehearse"):
            look_s, work_s = session().rehearse(pictures.size, pictures.fps)
        shared: dict[str, Any] = {}
        live = session(shared=shared)
        if sounding.signals:
            live.eye.watch(watch(plugins.discover(), shared, lambda text: _warn(console, text)))
        delay = Delay(hop_s, look_s, work_s, live.behind_s)
        live.eye.ahead_s = delay.player_s if sounding.out is None else 0.0  # a file's beats belong to its moments
        _say_start(console, pictures, live, window_s, delay)
        channels = composer.backbone.geometry.channels
        clock = Clock(live.sample_rate_hz, 0.0, delay.player_s)
        with (
            open_outlet(sounding.to, sounding.out, live.sample_rate_hz, channels) as outlet,
            open_signals(sounding.osc, sounding.midi_port, clock) as signals,
        ):
            _run(live, pictures, outlet, clock, signals, console)


def _run(
    live: LiveSession, pictures: Pictures, outlet: Outlet, clock: Clock, signals: Signals, console: Console
) -> None:
    """The loop: frames in, music out, a warning wherever it comes too late."""
    with _interruptible() as stop, Arriving(pictures) as arriving:
        clock.started_s = arriving.started_s
        outlet.start_s = arriving.started_s + clock.lead_s

        def take(made: Made) -> None:
            if made.late_s > 0:
                console.print(f"{WARNING} the music at {made.at_s:.1f} s came {made.late_s:.2f} s too late")
            outlet.write(made.samples)
            if outlet.gone:
                stop.set()

        with Looking(live, arriving.until(stop), signals.tell) as looking:
            for made in music(live, looking, clock, stop):
                take(made)
        rest = live.finish(None if stop.is_set() else pictures.end_s)
        if len(rest):
            take(clock.made(rest))
        console.print(clock.summary(arriving.left_out))


def _say_start(console: Console, pictures: Pictures, live: LiveSession, window_s: float, delay: Delay) -> None:
    if live.unknown_words:
        console.print(f"{WARNING} {escape(unknown_text(live.unknown_words))}", highlight=False, soft_wrap=True)
    height, width = pictures.size
    hop_s, work_s = delay.hop_s, delay.work_s
    console.print(
        f"{escape(pictures.name)}: {width}x{height}, {pictures.fps:.0f} frames a second. Ctrl-C ends it.\n"
        f"Music is made {hop_s:g} s at a time, and looks back {window_s:g} s at most.\n"
        f"Latency {delay.ready_s:.2f} s: {hop_s:g} s until its frames are there, {delay.look_s:.2f} s to look, "
        f"{work_s:.2f} s to make it, {delay.codec_s:.2f} s for the codec; played {delay.player_s:.2f} s behind the "
        "frames."
    )
    for name in live.late:
        console.print(
            f"{WARNING} {escape(name)} needs windows of {SPAN_S / 2:g} s of pictures, and comes that late"
        )
    for name in live.without_frames:
        console.print(f"{WARNING} {escape(name)} needs more than pictures and is left out")
    if work_s > 0.8 * hop_s:
        text = f"{work_s:.2f} s to make {hop_s:g} s of music is too slow to keep up; try a longer --hop"
        console.print(f"{WARNING} {text}")


def _warn(console: Console, text: str) -> None:
    console.print(f"{WARNING} {escape(text)}", highlight=False, soft_wrap=True)


def _problems(sounding: Sounding, steering: Steering) -> list[Problem]:
    """What is wrong with the options by themselves, and what of steering is not for frames that come."""
    to, out = sounding.to, sounding.out
    found = signal_problems(sounding.osc, sounding.midi_port)
    for option, value in (("--hop", sounding.hop_s), ("--window", sounding.window_s)):
        if value is not None and not 0.02 <= value < 3600.0:
            found.append(Problem(option, "a number of seconds of at least 0.02", f"{value:g}"))
    if to is not None or out is None:
        found += sink_problems(to or SPEAKERS)
    if steering.overlap_s is not None:
        found.append(Problem("live", "no overlap", f"{steering.overlap_s:g} s", "give --window and --hop"))
    if steering.parts:
        found.append(Problem("live", "no parts, as it has no end to count from", "parts"))
    for name, path in steering.controls.items():
        if path is not None:
            found.append(Problem(f"--control {name}={path}", "no clips to take controls from, live"))
    if out is not None:
        if out.suffix.lower() not in LIVE_SUFFIXES:
            wanted = f"a name that ends in {' or '.join(LIVE_SUFFIXES)}"
            found.append(Problem(f"--out {out}", wanted, out.suffix or "no suffix"))
        found += unwritable([out.parent])
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
