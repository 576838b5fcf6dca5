"""Music while the frames still arrive, step by step: a frame's controls steer the very next code frame.

Frames up to time t give control rows up to t (`eye.py`); with row f the model draws on (`steps.py`), which finishes
code frame f - 3; the codec settles the sound of the frame seven before that. So a moment's sound is ready

    latency = up to `hop_s` (rows are drawn together) + the time to look and to make it + 0.06 s + 0.14 s

after the moment; it is steered by everything seen up to 0.06 s after it, and by nothing later.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from expotion import machine, timeline
from expotion.contracts import SmoothedTrack
from expotion.errors import ExpotionError, Problem
from expotion.music.composer import Composer
from expotion.music.request import request_for_all
from expotion.music.schedule import Schedule
from expotion.music.steering import Given, Steering
from expotion.musicgen.codec import CodecStream
from expotion_live.eye import Eye
from expotion_live.steps import Steps

HOP_S = 0.08
"""Rows that are drawn together: each call of the codec computes seven frames beside its own."""
CODEC_FRAMES = 7
"""Code frames that decoding waits for (`expotion.musicgen.codec`)."""


@dataclass(frozen=True)
class Seen:
    """What a hop's frames say: rows of each control at `times_s` [n]."""

    times_s: NDArray[np.float64]
    tracks: Mapping[str, SmoothedTrack]


class LiveSession:
    """Frames in by `push_frames`, samples out by `read`. Not for several threads at once.

    `made_s` is how much music has been composed, `work_s` how long the last hop took to make. `without_frames`
    names controls that need more than pictures (sound, sensors): nothing of them arrives here, so they are dropped;
    `late` those that need windows of pictures. `seen` says whether the last hop's frames showed a control anything.
    `unknown_words` of the prompt, each with near ones.
    """

    def __init__(
        self,
        composer: Composer,
        steering: Steering | None = None,
        *,
        hop_s: float = HOP_S,
        window_s: float | None = None,
        shared: dict[str, Any] | None = None,
        **given: Unpack[Given],
    ) -> None:
        """Steering, or keywords for it, mean what they mean in `Composer.compose`; other clips' controls do not.

        `window_s`: how far the model looks back. `shared`: what encoders keep together (`Encoder.following`).
        """
        rate_hz = composer.backbone.frame_rate_hz
        self.composer = composer
        self.sample_rate_hz = composer.backbone.sample_rate_hz
        self._steering = steering = composer.resolved(steering, given)
        if steering.melody is not None:
            raise ExpotionError(Problem("melody", "none, as live music has no time of its own", "a file"))
        if steering.parts:
            raise ExpotionError(Problem("parts", "none: live music has no end to count from"))
        window = composer.window_frames if window_s is None else round(window_s * rate_hz)
        self._hop = round(hop_s * rate_hz)
        if not 1 <= self._hop < window <= composer.window_frames:
            longest = composer.window_frames / rate_hz
            wanted = f"0 < hop_s < window_s <= {longest:g} s, the length trained on"
            got = f"hop {hop_s:g} s, window {window / rate_hz:g} s"
            raise ExpotionError(Problem("live", wanted, got))
        self._rate_hz = rate_hz
        self._text = composer.prompts[steering.prompt]
        same = request_for_all(steering, composer.prompts, composer.backbone.geometry)
        self._later, self._negative = list(same.later), same.negative
        self.unknown_words = composer.prompts.unknown_words(steering.prompts)
        self._strengths: dict[str, Schedule] = dict(steering.strengths)
        theme = composer.theme(steering)
        self._steps = Steps(composer, steering, self._text, self._negative, theme, window)
        used = [name for name in composer.encoders if not steering.strengths[name].is_zero]
        self.eye = Eye(composer, rate_hz, used, {} if shared is None else shared)
        self.without_frames, self.late = self.eye.without_frames, self.eye.late
        self._stream = CodecStream(composer.codec)
        self._ready: list[NDArray[np.float32]] = []
        if theme is not None:
            self._ready.append(self._stream.push(theme))
        self.work_s = 0.0
        self.seen: Mapping[str, bool] = {}

    @property
    def hop_s(self) -> float:
        """Seconds of music that are made at a time."""
        return self._hop / self._rate_hz

    @property
    def behind_s(self) -> float:
        """How far the sound that is ready is behind the last row: the delay of the codebooks, and the codec's."""
        return (self._steps.behind + CODEC_FRAMES) / self._rate_hz

    @property
    def made_s(self) -> float:
        """Seconds of music that have been composed."""
        return self._steps.made / self._rate_hz

    def say(self, prompt: str | None, negative: str | None = None) -> dict[str, Any]:
        """Another prompt from here on; its unknown words, each with near ones."""
        prompts = self.composer.prompts
        self._text, self._later = prompts[prompt], []
        self._negative = None if negative is None else prompts[negative]
        self._steps.say(self._text, self._negative)
        return dict(prompts.unknown_words([prompt, negative]))

    def set_strength(self, name: str, value: float) -> None:
        """How much a control counts from here on."""
        self.eye.look(name)
        self._strengths = {**self._strengths, name: Schedule.of(value)}

    def push_frames(self, frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> None:
        """More frames, uint8 RGB [n, H, W, 3], at seconds [n] from the session's start, increasing.

        Makes music for every hop whose frames are complete. Raises ExpotionError for frames that go back in time.
        """
        for frame, time_s in zip(frames, times_s, strict=True):
            for seen in self.look(frame, float(time_s)):
                self.play(seen)

    def look(self, frame: NDArray[np.uint8], time_s: float) -> list[Seen]:
        """Look at the next frame; what `play` takes for every hop that it completes, perhaps none."""
        self.eye.push(frame, time_s)
        found = []
        while self.eye.until_s * self._rate_hz >= self.eye.rows + self._hop - 1:
            found.append(Seen(*self.eye.take((self.eye.rows + self._hop - 1) / self._rate_hz)))
        return found

    def play(self, seen: Seen) -> None:
        """Make the music that a hop's rows allow; `look` may go on in another thread meanwhile."""
        started = time.perf_counter()
        while self._later and self._later[0][0] <= self._steps.made:
            self._text = self._later.pop(0)[1]
            self._steps.say(self._text, self._negative)
        self.seen = {name: bool(track.valid.any()) for name, track in seen.tracks.items()}
        strengths = {name: schedule.at(seen.times_s) for name, schedule in self._strengths.items()}
        with machine.steady(self._steps.steady):
            codes = self._steps.push(seen.tracks, strengths)
            if codes.shape[-1]:
                self._ready.append(self._stream.push(codes))
        self.work_s = time.perf_counter() - started

    def read(self) -> NDArray[np.float32]:
        """Samples that have been made since the last call, float32 [n]."""
        ready, self._ready = self._ready, []
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def finish(self, end_s: float | None = None) -> NDArray[np.float32]:
        """What is left: the samples that waited for the codec's look-ahead.

        With `end_s`, where the frames ended, music is made up to there first: the whole piece then lasts `end_s`
        to one codec frame.
        """
        if end_s is not None and self.eye.rows:
            until = timeline.n_steps(end_s, self._rate_hz)
            if self.eye.rows < until:
                self.play(Seen(*self.eye.take((until - 1) / self._rate_hz)))
            rest = until - self._steps.made
            if rest > 0:
                with machine.steady(self._steps.steady):
                    self._ready.append(self._stream.push(self._steps.draw(until + self._steps.behind)[:, :rest]))
        self._ready.append(self._stream.finish())
        return self.read()

    def rehearse(self, size: tuple[int, int], fps: float) -> tuple[float, float]:
        """Seconds that looking at a frame takes, and making a hop, on noise of (height, width).

        The first for 95 in 100, as most frames may wait for a window; the second at the median. Only for a new
        session, which is of no use afterwards.
        """
        noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        looks, works = [0.0], [0.0]
        for number in range(max(4, round(fps * (3 * self.hop_s + 0.5)))):
            started = time.perf_counter()
            found = self.look(noise, number / fps)
            looks.append(time.perf_counter() - started)
            for seen in found:
                self.play(seen)
                works.append(self.work_s)
        return float(np.percentile(looks[len(looks) // 3 :], 95)), float(np.median(works[len(works) // 3 :]))


Tell = Callable[[Mapping[str, float], float], None]


class Looking:
    """A session looks at frames in a thread of its own, while the music of those before is made."""

    def __init__(
        self, live: LiveSession, frames: Iterator[tuple[NDArray[np.uint8], float]], tell: Tell = lambda *_: None
    ) -> None:
        """`tell` is given what is known with each frame (`Eye.says`), and the frame's time."""
        self._live, self._frames, self._tell = live, frames, tell
        self._found: queue.Queue[tuple[list[Seen], float] | None] = queue.Queue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._look, name="looking", daemon=True)

    def __enter__(self) -> Looking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5.0)

    def seen(self) -> Iterator[tuple[list[Seen], float]]:
        """What each frame completes, with its time, until the frames end. Raises what went wrong with them."""
        while (found := self._found.get()) is not None:
            yield found
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        try:
            for frame, time_s in self._frames:
                self._found.put((self._live.look(frame, time_s), time_s))
                if self._live.eye.watches:
                    self._tell(self._live.eye.says(), time_s)
        except BaseException as error:  # shown where the music is made
            self._error = error
        finally:
            self._found.put(None)
