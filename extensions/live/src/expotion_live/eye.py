"""What the controls see while frames come: rows at the model's steps, as far as there are frames.

An encoder that follows (`Encoder.following`: landmarks) looks at each frame once. Of any other the last SPAN_S of
frames are extracted every EVERY_S: encoders of pixels need 0.64 s of picture for a value, so music with them comes
up to half of that and EVERY_S later, which `late` says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Encoder, Following, SmoothedTrack, TimedFeatures
from expotion.errors import ExpotionError, Problem
from expotion.features.material import sampled_tracks
from expotion.music.composer import Composer
from expotion.video.memory import ArrayVideo, MemoryClip

SPAN_S, EVERY_S = 1.28, 0.16
"""Seconds of frames that are extracted at a time, and how often: two windows of 16 frames at 25 a second."""


class Watched(Protocol):
    """What looks at frames so that others can be told."""

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """The next frame."""
        ...

    def says(self) -> Mapping[str, float]:
        """What is known by now."""
        ...


class Eye:
    """Rows of every control that needs pictures alone; `without_frames` names the others, which stay silent.

    `late` names the controls that are known only for short windows. `ahead_s`: how much later than its moment music
    is heard; what can be foreseen, as a beat can, is given for then.
    """

    def __init__(self, composer: Composer, rate_hz: float, used: Sequence[str], shared: dict[str, Any]) -> None:
        """`used`: the controls that are looked at."""
        self._composer, self._rate_hz, self._shared = composer, rate_hz, shared
        able = {name: each for name, each in composer.encoders.items() if set(each.spec.needs) == {"video"}}
        self._able = able
        self.without_frames = tuple(name for name in composer.encoders if name not in able)
        self._followed: dict[str, Following] = {}
        self.late: tuple[str, ...] = ()
        for name in used:
            self.look(name)
        self._watched: Sequence[Watched] = ()
        self._rows = 0
        self._last_s = -1.0
        self.ahead_s = 0.0

    @property
    def until_s(self) -> float:
        """The time up to which every control is known."""
        return min([self._last_s, *(each.until_s for each in self._followed.values())])

    @property
    def rows(self) -> int:
        """Rows that have been given."""
        return self._rows

    def look(self, name: str) -> None:
        """Look for a control from here on."""
        if name in self._followed or name not in self._able:
            return
        following = self._able[name].following(self._shared)
        if following is None:
            following, self.late = Windowed(self._composer, name, self._able[name]), (*self.late, name)
        self._followed = {**self._followed, name: following}

    @property
    def watches(self) -> bool:
        """Whether anything is watched beside the controls."""
        return bool(self._watched)

    def watch(self, watched: Sequence[Watched]) -> None:
        """Have more told by `says` than the controls say."""
        self._watched = watched

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """The next frame, RGB uint8 [H, W, 3]. Raises ExpotionError for one that goes back in time."""
        if time_s <= self._last_s:
            got = f"{time_s:.3f} s after {self._last_s:.3f} s"
            raise ExpotionError(Problem("live frames", "times that increase", got))
        self._last_s = time_s
        for following in (*self._followed.values(), *self._watched):
            following.push(frame, time_s)

    def take(self, until_s: float | None = None) -> tuple[NDArray[np.float64], dict[str, SmoothedTrack]]:
        """Times [n] and rows of the steps since the last call, up to `until_s`; behind what is known it stands."""
        end_s = self.until_s if until_s is None else until_s
        stop = max(self._rows, int(np.floor(end_s * self._rate_hz + timeline.EPSILON_S)) + 1)
        times_s = np.arange(self._rows, stop) / self._rate_hz
        self._rows = stop
        if not len(times_s):
            return times_s, {}
        seen_s = np.minimum(times_s, max(self.until_s, 0.0))
        return times_s, {name: each.at(seen_s, self.ahead_s) for name, each in self._followed.items()}

    def says(self) -> dict[str, float]:
        """What is known for others by now (`Following.says`), of controls and of what is watched beside them."""
        said: dict[str, float] = {}
        for each in (*self._followed.values(), *self._watched):
            said |= each.says()
        return said


class Windowed:
    """An encoder of whole windows, asked for the last SPAN_S every EVERY_S."""

    def __init__(self, composer: Composer, name: str, encoder: Encoder) -> None:
        self._composer, self._name, self._encoder = composer, name, encoder
        self._frames: deque[tuple[float, NDArray[np.uint8]]] = deque()
        self._looked_s = -EVERY_S
        self._track: TimedFeatures | None = None

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """Keep it; the frame that was shown at the span's start stays."""
        self._frames.append((time_s, frame))
        while len(self._frames) > 2 and self._frames[1][0] <= time_s - SPAN_S:
            self._frames.popleft()
        if time_s >= self._looked_s + EVERY_S:
            self._look()

    @property
    def until_s(self) -> float:
        """The middle of the newest window."""
        return -1.0 if self._track is None else float(self._track.times_s[-1])

    def at(self, times_s: NDArray[np.float64], ahead_s: float) -> SmoothedTrack:
        """Rows by the newest extraction."""
        del ahead_s
        if self._track is None or not self._track.valid.any():
            width = self._encoder.spec.width(self._encoder.options)
            return SmoothedTrack(np.zeros((len(times_s), width), np.float32), np.zeros(len(times_s), bool))
        return self._encoder.smooth(self._track, np.clip(times_s, *self._track.times_s[[0, -1]]))

    def says(self) -> Mapping[str, float]:
        """Nothing."""
        return {}

    def _look(self) -> None:
        end_s = self._looked_s = self._frames[-1][0]
        start_s = max(0.0, end_s - SPAN_S, self._frames[0][0] if len(self._frames) < 3 else 0.0)
        times_s = np.maximum(np.array([time_s for time_s, _ in self._frames]) - start_s, 0.0)
        video = ArrayVideo(np.stack([frame for _, frame in self._frames]), times_s)
        clip = MemoryClip("live", max(end_s - start_s, 1.0 / timeline.CODEC_RATE_HZ), video)
        composer = self._composer
        found = composer.controls.extract([self._name], clip)
        track = sampled_tracks(composer.recipe, {self._name: self._encoder}, found)[self._name]
        self._track = TimedFeatures(track.values, track.times_s + start_s, track.valid)
