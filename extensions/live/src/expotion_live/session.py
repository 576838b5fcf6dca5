"""Music while the frames still arrive: at every hop, the last seconds of video steer the next stretch of music.

At time t = m hop_s, once frames up to t are there, the controls over [t - window_s, t] are extracted anew and
give the prefix; the codes made so far in that window are the prompt; the model goes on for hop_s. So the
music of a moment is steered by everything seen up to the end of its hop, never by later frames, and is ready

    latency = hop_s (waiting for its frames) + the time to make it + the codec's look-ahead (7 frames, 0.14 s)

after the moment that it belongs to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import SmoothedTrack
from expotion.errors import ExpotionError, Problem
from expotion.features.material import sampled_tracks, smooth_all
from expotion.music.compose import Request, continue_codes, later_texts, no_codes
from expotion.music.composer import Composer
from expotion.music.steering import Given, Steering
from expotion.musicgen.codec import CodecStream
from expotion.video.memory import ArrayVideo, MemoryClip


class LiveSession:
    """Frames in by `push_frames`, samples out by `read`. Not for several threads at once.

    `made_s` is how much music there is; `work_s` how long the last hop took to make. A session keeps up as
    long as `work_s` stays below `hop_s`. `without_frames` names controls that need more than pictures (sound,
    sensors): nothing of them arrives here, so they are dropped. `unknown_words` of the prompt, each with near
    ones.
    """

    def __init__(
        self,
        composer: Composer,
        steering: Steering | None = None,
        *,
        hop_s: float = 1.0,
        window_s: float | None = None,
        **given: Unpack[Given],
    ) -> None:
        """Steering, or keywords for it, mean what they mean in `Composer.compose`; other clips' controls do not."""
        rate_hz = composer.backbone.frame_rate_hz
        codec = composer.backbone.codec
        assert codec is not None
        self.composer = composer
        self.sample_rate_hz = composer.backbone.sample_rate_hz
        self._steering = composer.resolved(steering, given)
        if self._steering.melody is not None:
            raise ExpotionError(Problem("melody", "none, as live music has no time of its own", "a file"))
        self._window = composer.window_frames if window_s is None else round(window_s * rate_hz)
        self._hop = round(hop_s * rate_hz)
        if not 1 <= self._hop < self._window <= composer.window_frames:
            longest = composer.window_frames / rate_hz
            wanted = f"0 < hop_s < window_s <= {longest:g} s, the length trained on"
            got = f"hop {hop_s:g} s, window {self._window / rate_hz:g} s"
            raise ExpotionError(Problem("live", wanted, got))
        self._rate_hz = rate_hz
        self.without_frames = tuple(
            name for name, encoder in composer.encoders.items() if set(encoder.spec.needs) != {"video"}
        )
        if self._steering.parts:
            raise ExpotionError(Problem("parts", "none: live music has no end to count from"))
        self._text = composer.prompts[self._steering.prompt]
        self._later = later_texts(self._steering.prompt_at, composer.prompts, rate_hz)
        negative = self._steering.negative
        self._negative = None if negative is None else composer.prompts[negative]
        self.unknown_words = composer.prompts.unknown_words(self._steering.prompts)
        self._lm = composer.engine(self._steering.precision)
        self._generator = torch.Generator().manual_seed(self._steering.seed)
        self._stream = CodecStream(codec)
        self._frames: deque[NDArray[np.uint8]] = deque()
        self._times_s: deque[float] = deque()
        theme = composer.theme(self._steering)
        self._codes = no_codes(self._lm) if theme is None else theme
        self._made = self._codes.shape[-1]
        self._ready: list[NDArray[np.float32]] = [self._stream.push(self._codes)]
        self.work_s = 0.0

    @property
    def hop_s(self) -> float:
        """Seconds of music that are made at a time."""
        return self._hop / self._rate_hz

    @property
    def made_s(self) -> float:
        """Seconds of music that have been composed."""
        return self._made / self._rate_hz

    def push_frames(self, frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> None:
        """More frames, uint8 RGB [n, H, W, 3], at seconds [n] from the session's start, increasing.

        Makes music for every hop whose frames are complete: a hop is complete when a frame at or after its
        end has come. Raises ExpotionError for frames that go back in time.
        """
        for _ in self.hops(frames, times_s):
            pass

    def hops(self, frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> Iterator[float]:
        """The same as `push_frames`, hop by hop: yields the seconds that have been made, after each.

        After a pause one frame may complete many hops; who stops in between gets no more of them.
        """
        for frame, time_s in zip(frames, times_s, strict=True):
            if self._times_s and time_s <= self._times_s[-1]:
                got = f"{time_s:.3f} s after {self._times_s[-1]:.3f} s"
                raise ExpotionError(Problem("live frames", "times that increase", got))
            self._frames.append(frame)
            self._times_s.append(float(time_s))
            while time_s >= (self._made + self._hop) / self._rate_hz:
                self._advance(self._hop)
                yield self.made_s

    def read(self) -> NDArray[np.float32]:
        """Samples that have been made since the last call, float32 [n]."""
        ready, self._ready = self._ready, []
        return np.concatenate(ready) if ready else np.zeros(0, np.float32)

    def finish(self, end_s: float | None = None) -> NDArray[np.float32]:
        """What is left: the samples that waited for the codec's look-ahead.

        With `end_s`, where the frames ended, music is made up to there first: the whole piece then lasts `end_s`
        to one codec frame.
        """
        if end_s is not None and self._times_s:
            until = timeline.n_steps(end_s, self._rate_hz)
            while self._made < until:
                self._advance(min(self._hop, until - self._made))
        self._ready.append(self._stream.finish())
        return self.read()

    def rehearse(self, size: tuple[int, int], fps: float) -> float:
        """Seconds that a hop takes once the window is full, on noise of (height, width). Only for a new session,
        which is of no use afterwards."""
        noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
        times_s = np.arange(0.0, (self._window + 2 * self._hop) / self._rate_hz, 1.0 / fps)
        self._times_s.extend(times_s.tolist())
        self._frames.extend([noise] * len(times_s))
        for n_frames in (self._window - self._hop, self._hop, self._hop):
            self._advance(n_frames)
        return self.work_s

    def _advance(self, n_frames: int) -> None:
        started = time.perf_counter()
        stop = self._made + n_frames
        first = max(0, stop - self._window)
        start_s, stop_s = first / self._rate_hz, stop / self._rate_hz
        # The frame shown at the window's start stays, whatever its own time.
        while len(self._times_s) > 1 and self._times_s[1] <= start_s:
            self._times_s.popleft()
            self._frames.popleft()
        tracks = self._tracks(start_s, stop_s, stop - first)
        times_s = start_s + timeline.step_times_s(stop - first, self._rate_hz)
        rows = {name: self._steering.strengths[name].at(times_s) for name in tracks}
        later = [(frame - first, text) for frame, text in self._later]
        request = Request(stop - first, self._text, tracks, rows, later=later, negative=self._negative)
        # Codes are kept for one window, which ends at what has been made.
        known = self._codes[:, self._codes.shape[-1] - (self._made - first) :]
        made = continue_codes(self._lm, self.composer.adaptor, request, self._steering, known, self._generator)
        fresh = made[:, made.shape[-1] - n_frames :]
        self._codes = made[:, -self._window :]
        self._made = stop
        self._ready.append(self._stream.push(fresh))
        self.work_s = time.perf_counter() - started

    def _tracks(self, start_s: float, stop_s: float, n_frames: int) -> dict[str, SmoothedTrack]:
        used = [
            name
            for name in self.composer.encoders
            if not self._steering.strengths[name].is_zero and name not in self.without_frames
        ]
        if not used:
            return {}
        inside = [i for i, time_s in enumerate(self._times_s) if time_s < stop_s]
        frames = np.stack([self._frames[i] for i in inside])
        times_s = np.maximum(np.array([self._times_s[i] for i in inside]) - start_s, 0.0)
        clip = MemoryClip("live", stop_s - start_s, ArrayVideo(frames, times_s))
        composer = self.composer
        native = sampled_tracks(composer.recipe, composer.encoders, composer.extract(used, clip))
        return smooth_all(composer.encoders, native, n_frames, self._rate_hz)
