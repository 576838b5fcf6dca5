"""A captioner that looks: how fast and how widely somebody moves, from the frames alone, as a sentence.

It has no model: a picture's movement is its mean change within 0.04 s, 64 pixels high; its beat is tracked by
core's tracker, its size is the mean. `fused` says after it what `listener.py` hears, as captions of picture and
music are joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from expotion.beats import FRAME_RATE_HZ, follow
from expotion.contracts import CaptionerSpec, Options
from expotion.errors import ExpotionError, Problem
from expotion_conductor.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from expotion.contracts import Clip

RATE_HZ = 25.0
SIDE_PX = 64
SLOW_BELOW_BPM, FAST_FROM_BPM = 90.0, 125.0
WIDE_FROM = 1.7
"""Mean change of a pixel within 0.04 s, of 255: between the quieter and the wilder half of the world's clips."""
JOIN = "{music}. The music accompanies a video: {video}"


class WatcherOptions(Options):
    """What is told."""

    of: Literal["video", "fused"] = Field(default="video", description="the picture, or picture and music")


class Watcher:
    """Tells of a clip's picture."""

    def __init__(self, options: WatcherOptions) -> None:
        self._listener = Listener() if options.of == "fused" else None

    def __call__(self, clip: Clip) -> str:
        """A caption. Raises ExpotionError for a clip without a picture, or (fused) without sound."""
        told = told_of(change_of(clip))
        if self._listener is None:
            return told[:1].upper() + told[1:]
        return JOIN.format(music=self._listener(clip), video=told)


def change_of(clip: Clip) -> NDArray[np.float64]:
    """Mean change of a clip's pixels from each 25th of a second to the next, float64 [n], of 255."""
    if clip.video is None or len(clip.video.frame_times_s) == 0:
        raise ExpotionError(Problem(clip.id, "a picture to look at", "none"))
    times_s = np.arange(0.0, clip.duration_s, 1 / RATE_HZ)
    frames = clip.video.frames_at(times_s, shorter_side=SIDE_PX).astype(np.float32).mean(axis=3)
    return np.asarray(np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2)), dtype=np.float64)


def told_of(change: NDArray[np.float64]) -> str:
    """The sentence for a change over time [n] at 25 Hz."""
    if len(change) < 2 or float(change.max()) == 0.0:
        return "somebody stands still"
    at = np.arange(0.0, len(change) - 1, RATE_HZ / FRAME_RATE_HZ)
    found = follow(np.interp(at, np.arange(len(change)), change))
    pace = "at a walking pace"
    if len(found.beats_s) > 1:
        bpm = float(np.median(found.tempo_bpm))
        pace = "slowly" if bpm < SLOW_BELOW_BPM else "fast" if bpm >= FAST_FROM_BPM else pace
    size = "wide" if float(change.mean()) >= WIDE_FROM else "small"
    return f"somebody beats time {pace} with {size} gestures"


def _build(options: Any) -> Callable[[Clip], str]:
    return Watcher(options)


SPEC = CaptionerSpec(
    name="conductor_watcher",
    description="how fast and how widely somebody beats time, by looking (fused: and the music); no weights",
    build=_build,
    options=WatcherOptions,
)
