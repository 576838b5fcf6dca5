"""`expotion live`: music while frames arrive, to the speakers, standard output or a file."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray
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
from expotion_live.session import LiveSession, Looking
from expotion_live.sink import LIVE_SUFFIXES, SPEAKERS, Outlet, open_outlet, sink_problems

IN_HAND_S = 0.15
"""Seconds that a player stays further behind: hops take longer where a window ends."""
WARNING = "[yellow]warning[/]"
TOLERANCE_S = 0.005
"""Less than a player notices."""


@dataclass(frozen=True)
class Delay:
    """What the delay between a frame and its music is made of, in seconds."""

    hop_s: float
    look_s: float
    work_s: float
    codec_s: float

    @property
    def ready_s(self) -> float:
        """Until the music of a moment is ready, at the latest."""
        return self.hop_s + self.look_s + self.work_s + self.codec_s

    @property
    def player_s(self) -> float:
        """How far behind the frames a player should stay."""
        return self.ready_s + IN_HAND_S


@dataclass
class Clock:
    """When each sample must be there for a player that is `lead_s` behind the frames.

    `late_s` holds by how much chunks came too late; the player is taken to wait, so each delay counts once.
    """

    rate_hz: int
    started_s: float
    lead_s: float
    done: int = 0
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def chunk(self, n_samples: int, now_s: float) -> float:
        """A chunk is ready; returns by how much it is too late, 0 where it is not."""
        belongs_s = self.done / self.rate_hz
        latency_s = now_s - self.started_s - belongs_s
        self.latencies_s.append(latency_s)
        self.done += n_samples
        late_s = latency_s - self.lead_s
        if late_s <= TOLERANCE_S:
            return 0.0
        self.lead_s = latency_s
        self.late_s.append(late_s)
        return late_s

    def summary(self, busy_s: float, busy_for_s: float, left_out: int, last_s: float) -> str:
        """One line at the end: how much was made, how late, how many dropouts."""
        made = f"{self.done / self.rate_hz:.1f} s of music for {last_s:.1f} s of frames"
        if not self.latencies_s:
            return made
        mean_s, most_s = float(np.mean(self.latencies_s)), max(self.latencies_s)
        parts = [made, f"latency {mean_s:.2f} s on average, {most_s:.2f} s at most"]
        if busy_for_s:
            parts.append(f"{busy_s / busy_for_s:.2f} s of work for each second")
        n_late = len(self.late_s)
        parts.append(f"{n_late} dropouts" if n_late != 1 else "1 dropout")
        if left_out:
            parts.append(f"{left_out} frames left out")
        return "; ".join(parts)


def play_live(
    source: str,
    steering: Steering,
    *,
    to: str | None,
    out: Path | None,
    hop_s: float,
    window_s: float | None,
    console: Console,
    problems: Sequence[Problem] = (),
) -> None:
    """Make music for frames as they come until they end or Ctrl-C comes.

    Raises ExpotionError with everything that is wrong before anything is loaded.
    """
    found = [*problems, *_problems(to, out, hop_s, window_s, steering)]
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
        with stage_progress(console, "load models"):
            composer = open_composer(steering.folder, plugins.discover(), steering.backbone)
        session = functools.partial(LiveSession, composer, steering, hop_s=hop_s, window_s=window_s)
        with stage_progress(console, "rehearse"):
            look_s, work_s = session().rehearse(pictures.size, pictures.fps)
        live = session()
        delay = Delay(hop_s, look_s, work_s, live.behind_s)
        _say_start(console, pictures, live, window_s, delay)
        channels = composer.backbone.geometry.channels
        with open_outlet(to, out, live.sample_rate_hz, channels) as outlet:
            _run(live, pictures, outlet, delay, console)


def _run(live: LiveSession, pictures: Pictures, outlet: Outlet, delay: Delay, console: Console) -> None:
    """The loop: frames in, music out, a warning wherever it comes too late."""
    with _interruptible() as stop, Arriving(pictures) as arriving, Looking(live, arriving.until(stop)) as looking:
        clock = Clock(live.sample_rate_hz, arriving.started_s, delay.player_s)
        outlet.start_s = arriving.started_s + delay.player_s
        busy_s, hops, last_s = 0.0, 0, 0.0

        def take(samples: NDArray[np.float32]) -> None:
            if not len(samples):
                return
            at_s = clock.done / clock.rate_hz
            late_s = clock.chunk(len(samples), time.monotonic())
            if late_s > 0:
                console.print(f"{WARNING} the music at {at_s:.1f} s came {late_s:.2f} s too late")
            outlet.write(samples)
            if outlet.gone:
                stop.set()

        for seen, time_s in looking.seen():
            for hop in seen:
                live.play(hop)
                busy_s, hops = busy_s + live.work_s, hops + 1
                take(live.read())
                if stop.is_set():
                    break
            last_s = time_s
            if stop.is_set():
                break
        take(live.finish(None if stop.is_set() else pictures.end_s))
        console.print(clock.summary(busy_s, hops * delay.hop_s, arriving.left_out, last_s))


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


def _problems(
    to: str | None, out: Path | None, hop_s: float, window_s: float | None, steering: Steering
) -> list[Problem]:
    """What is wrong with the options by themselves, and what of steering is not for frames that come."""
    found = []
    for option, value in (("--hop", hop_s), ("--window", window_s)):
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
