"""Music for parts of a clip: which stretches, and how they are laid into what sounds around them.

A part is a piece of its own, as a clip of that length would get, steered by what the clip shows in that time. Over
the first and last FADE_S inside a part, where a part does not begin or end with the clip, its music m and the sound
around it o give way to one another at equal power,

    sin(pi/2 u) m + cos(pi/2 u) o      u from 0 at the part's edge to 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.music.schedule import short
from expotion.video.audio import fit

FADE_S = 0.05
"""Over which a part's music and the sound around it give way to one another, inside the part."""
LEAST_PART_S = 2 * FADE_S


@dataclass(frozen=True)
class Part:
    """A stretch of a clip in seconds; without an end, up to where the clip ends."""

    start_s: float
    end_s: float | None

    @classmethod
    def of(cls, given: str | Part) -> Part:
        """A part as typed, START-END or START-. Raises ValueError for anything else, and for a short one."""
        if isinstance(given, Part):
            return given
        start, dash, end = str(given).partition("-")
        try:
            part = cls(float(start), float(end) if end.strip() else None)
        except ValueError:
            dash = ""
        if not dash:
            raise ValueError("START-END in seconds, for example 10-20, or 10- up to the end")
        bounds = (part.start_s, part.start_s if part.end_s is None else part.end_s)
        if not all(math.isfinite(bound) for bound in bounds):
            raise ValueError("finite seconds")
        if part.end_s is not None and part.end_s - part.start_s < LEAST_PART_S - timeline.EPSILON_S:
            raise ValueError(f"a part that goes forwards, for at least {LEAST_PART_S:g} s")
        return part

    def within(self, duration_s: float) -> tuple[float, float]:
        """(start, end) in seconds in a clip of this length; an end behind it, by a rounding, is the clip's."""
        return self.start_s, duration_s if self.end_s is None else min(self.end_s, duration_s)

    def __str__(self) -> str:
        return f"{short(self.start_s)}-{'' if self.end_s is None else short(self.end_s)}"


@dataclass(frozen=True)
class Span:
    """What gets music, in seconds, and the codec frames first..stop that hold it."""

    start_s: float
    end_s: float
    first: int
    stop: int

    @property
    def n_frames(self) -> int:
        """Frames that are composed."""
        return self.stop - self.first


def spans_of(parts: Sequence[Part], duration_s: float, rate_hz: float) -> list[Span]:
    """What gets music in a clip of this length at a frame rate: one for each part, or all of the clip."""
    n_frames = timeline.n_steps(duration_s, rate_hz)
    if not parts:
        return [Span(0.0, duration_s, 0, n_frames)]
    found = []
    for start_s, end_s in (part.within(duration_s) for part in parts):
        first = min(timeline.frame_at(start_s, rate_hz), n_frames - 1)
        stop = max(first + 1, min(n_frames, math.ceil((end_s - timeline.EPSILON_S) * rate_hz)))
        found.append(Span(start_s, end_s, first, stop))
    return found


def laid_into(
    around: NDArray[np.float32],
    made: Sequence[tuple[Span, NDArray[np.float32]]],
    sample_rate_hz: int,
    rate_hz: float,
) -> NDArray[np.float32]:
    """The sound around, float32 [n] or [n, 2], with each span's music (from its frame `first` on) in its place."""
    out = around.copy()
    hop = timeline.samples_per_frame(sample_rate_hz, rate_hz)
    for span, samples in made:
        start = timeline.n_samples(span.start_s, sample_rate_hz)
        end = min(timeline.n_samples(span.end_s, sample_rate_hz), len(out))
        music = fit(samples[start - span.first * hop :], end - start)  # frames may end just before the clip
        ramp = np.linspace(0.0, np.pi / 2, timeline.n_samples(FADE_S, sample_rate_hz), endpoint=False)
        angle = ramp.astype(np.float32).reshape(-1, *[1] * (out.ndim - 1))
        n = len(angle)
        if start > 0:
            music[:n] = np.sin(angle) * music[:n] + np.cos(angle) * out[start : start + n]
        if end < len(out):
            music[-n:] = np.sin(angle[::-1]) * music[-n:] + np.cos(angle[::-1]) * out[end - n : end]
        out[start:end] = music
    return out
