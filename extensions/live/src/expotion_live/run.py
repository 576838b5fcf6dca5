"""`expotion generate --live`: music while frames arrive, to the speakers, standard output or a file."""

from __future__ import annotations

import contextlib
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError, Problem
from expotion.files import replacing
from expotion.music.checks import find_adaptor, name_problems, read_facts, schedule_problems
from expotion.music.composer import Composer, open_composer
from expotion.music.steering import Composing
from expotion.plugins import Registry
from expotion.progress import stage_progress
from expotion_live.asked import LiveAsked
from expotion_live.play import SPEAKERS, ListenerGone, open_sink, sink_problems
from expotion_live.session import Arriving, LiveSession, Pictures, open_pictures

# How far live music is behind its frames, and whether it came in time.

TOLERANCE_S = 0.005
"""Less than a player notices."""


@dataclass(frozen=True)
class Delay:
    """What the delay between a frame and its music is made of, in seconds."""

    hop_s: float
    work_s: float
    codec_s: float

    @property
    def ready_s(self) -> float:
        """Until the music of a moment is ready, at the latest."""
        return self.hop_s + self.work_s + self.codec_s

    @property
    def player_s(self) -> float:
        """How far behind the frames a player should stay: a quarter of a hop in hand."""
        return self.ready_s + 0.25 * self.hop_s


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


# Where live music goes: a player in a thread of its own, and a file that is whole whenever it ends.

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
            import soundfile

            draft = stack.enter_context(replacing(out))
            kind = _KINDS[out.suffix.lower()]
            sound_file = stack.enter_context(
                soundfile.SoundFile(draft, "w", sample_rate_hz, 1, subtype="PCM_16", format=kind)
            )
        player = None if where is None else Player(where, sample_rate_hz)
        yield Outlet(sound_file, player)
        if player is not None:
            player.close()


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
