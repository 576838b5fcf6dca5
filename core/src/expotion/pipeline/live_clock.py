"""How far live music is behind its frames, and whether it came in time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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
