"""The loop of live music: what frames complete becomes chunks of sound, each with how late it is.

A player stays a fixed time behind the frames; a chunk that is not there by then is a dropout. The player waits for
it, and is then that much further behind. A delay that grows over several chunks is one dropout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expotion_live.session import LiveSession, Looking

IN_HAND_S = 0.15
"""Seconds that a player stays further behind: hops take longer where a window ends."""
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


@dataclass(frozen=True)
class Made:
    """Music as it is made: samples float32 [n] or [n, 2], which begin at `at_s` and came `late_s` too late.

    `frames_s` are the times of the frames that nothing before it was computed with.
    """

    samples: NDArray[np.float32]
    at_s: float
    late_s: float
    frames_s: tuple[float, ...] = ()


@dataclass
class Clock:
    """When each sample must be there for a player that is `lead_s` behind the frames.

    `late_s` holds by how much the music came too late, once for each dropout.
    `last_s` is the last frame's time; `busy_s` what was worked for `busy_for_s` of music; `grows` is whether the
    last chunk was late.
    """

    rate_hz: int
    started_s: float
    lead_s: float
    done: int = 0
    last_s: float = 0.0
    busy_s: float = 0.0
    busy_for_s: float = 0.0
    grows: bool = False
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)

    def chunk(self, n_samples: int, now_s: float) -> float:
        """A chunk is ready; returns by how much it is too late, 0 where it is not."""
        belongs_s = self.done / self.rate_hz
        latency_s = now_s - self.started_s - belongs_s
        self.latencies_s.append(latency_s)
        self.done += n_samples
        late_s, grows = latency_s - self.lead_s, self.grows
        self.grows = late_s > TOLERANCE_S
        if not self.grows:
            return 0.0
        self.lead_s = latency_s
        if grows:
            self.late_s[-1] += late_s
        else:
            self.late_s.append(late_s)
        return late_s

    def made(self, samples: NDArray[np.float32], frames_s: tuple[float, ...] = ()) -> Made:
        """A chunk that is ready now."""
        at_s = self.done / self.rate_hz
        return Made(samples, at_s, self.chunk(len(samples), time.monotonic()), frames_s)

    def summary(self, left_out: int) -> str:
        """One line at the end: how much was made, how late, how many dropouts."""
        made = f"{self.done / self.rate_hz:.1f} s of music for {self.last_s:.1f} s of frames"
        if not self.latencies_s:
            return made
        mean_s, most_s = float(np.mean(self.latencies_s)), max(self.latencies_s)
        parts = [made, f"latency {mean_s:.2f} s on average, {most_s:.2f} s at most"]
        if self.busy_for_s:
            parts.append(f"{self.busy_s / self.busy_for_s:.2f} s of work for each second")
        n_late = len(self.late_s)
        parts.append(f"{n_late} dropouts" if n_late != 1 else "1 dropout")
        if left_out:
            parts.append(f"{left_out} frames left out")
        return "; ".join(parts)


def music(live: LiveSession, looking: Looking, clock: Clock, stop: threading.Event) -> Iterator[Made]:
    """Chunks as they are made, until the frames end or `stop` is set. What is left then, `live.finish` gives."""
    new: list[float] = []
    for hops, time_s in looking.seen():
        new.append(time_s)
        clock.last_s = time_s
        for hop in hops:
            live.play(hop)
            clock.busy_s, clock.busy_for_s = clock.busy_s + live.work_s, clock.busy_for_s + live.hop_s
            samples = live.read()
            if len(samples):
                yield clock.made(samples, tuple(new))
                new = []
            if stop.is_set():
                return
        if stop.is_set():
            return
