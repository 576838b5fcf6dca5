"""Encoders: what a plugin says of one, and the frozen function of a clip that it builds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts.base import Options, Weights
from expotion.contracts.clips import Clip, Video
from expotion.contracts.tracks import SmoothedTrack, TimedFeatures, TokenFeatures

if TYPE_CHECKING:
    import torch

Need = Literal["video", "audio", "text", "file"]
Feed = Literal["prefix", "cross_attention"]


@dataclass(frozen=True)
class EncoderSpec:
    """What a plugin says about an encoder without building it.

    `width(options)` is D; `rate_hz(options)` is the native rate (None: no fixed rate, or token features);
    `build(options)` imports what it needs and returns the encoder. `smoother` names core's smoother.
    `cost_s(options)` is what `extract` takes: processor seconds of one core per second of clip (None: not known).
    `default`: recipes that name no text encoder get this one, which feeds cross-attention.
    """

    name: str
    description: str
    needs: frozenset[Need]
    build: Callable[[Any], Encoder]
    options: type[Options] = Options
    width: Callable[[Any], int] = field(default=lambda options: 0)
    rate_hz: Callable[[Any], float | None] = field(default=lambda options: None)
    feeds: Feed = "prefix"
    smoother: timeline.Smoother = "linear"
    licence: str = "Apache-2.0"
    weights: Callable[[Any], Sequence[Weights]] = field(default=lambda options: ())
    cost_s: Callable[[Any], float | None] = field(default=lambda options: None)
    default: bool = False


@dataclass(frozen=True)
class Overlay:
    """What an encoder looked at: boxes, points and motion, by time; and what it heard in the movement.

    `boxes` float64 [n, 5]: (time_s, x0, y0, x1, y1), times increasing, corners as fractions of the picture's width
    and height; NaN corners where there is no box. A box stands until the next row. `vector_times_s` float64 [m],
    increasing, and `vectors` float32 [m, rows, columns, 2]: motion (right, down) in picture widths per second on a
    grid over the whole picture. `point_times_s` float64 [p], increasing, and `points` float32 [p, k, 2] as
    fractions, NaN where a point is not seen; `lines` are pairs of points that are joined. `events_s` and `beats_s`:
    seconds at which a movement is accented, and at which it beats. `expression_times_s` float64 [q], increasing,
    and `expression` float32 [q]: how far the face is from rest, at least 0, NaN where none is seen. `note` says in
    a sentence how it was made.
    """

    note: str
    boxes: NDArray[np.float64] | None = None
    vector_times_s: NDArray[np.float64] | None = None
    vectors: NDArray[np.float32] | None = None
    point_times_s: NDArray[np.float64] | None = None
    points: NDArray[np.float32] | None = None
    lines: tuple[tuple[int, int], ...] = ()
    events_s: NDArray[np.float64] | None = None
    beats_s: NDArray[np.float64] | None = None
    expression_times_s: NDArray[np.float64] | None = None
    expression: NDArray[np.float32] | None = None


class Following(Protocol):
    """An encoder's features while frames come: every frame is looked at once, in order."""

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """The next frame, RGB uint8 [H, W, 3], at a time later than the one before."""
        ...

    @property
    def until_s(self) -> float:
        """The time up to which rows can be told by now: that of the last frame, or some time before."""
        ...

    def at(self, times_s: NDArray[np.float64], ahead_s: float) -> SmoothedTrack:
        """Rows at times float64 [n] up to `until_s`, from what was pushed: values [n, D], valid [n].

        What can be foreseen, as a beat can, is given for `ahead_s` later: that much later it is heard.
        """
        ...

    def says(self) -> Mapping[str, float]:
        """What it knows by now for others: `next_beat_s`, `tempo_bpm`, `expressiveness`; only what is known."""
        ...


class Encoder(ABC):
    """A frozen function of a clip. Three stages by name: `extract`, `smooth`, `project`."""

    spec: EncoderSpec
    options: Options
    max_gap_s: float | None = None
    """The gap between valid samples that `smooth` bridges (a recipe's `smooth.max_gap_s`). None: the default."""

    @abstractmethod
    def extract(self, clip: Clip) -> TimedFeatures | TokenFeatures:
        """The encoder's own stage: clip to features. Deterministic; no gradients; float32 out."""

    @property
    def weights_hash(self) -> str:
        """Hex digest of the weights in use; part of the cache key. '' for an encoder without weights."""
        return ""

    @property
    def computed_in(self) -> str:
        """What the options left open and the encoder decided for this machine, such as 'bfloat16'.

        Part of the cache key. '' where the options decide everything.
        """
        return ""

    @property
    def worth_keeping(self) -> bool:
        """Whether the feature store keeps what `extract` gives. False for an encoder that only reads a file."""
        return True

    def overlay(self, clip: Clip) -> Overlay | None:
        """What the encoder looked at, to be drawn over the picture (`expotion features show`). Default: nothing."""
        return None

    def following(self, shared: dict[str, Any]) -> Following | None:
        """The same features while frames come, for live music. Default: None, and short windows are extracted.

        `shared` belongs to one session: in it encoders of one plugin may keep what they look at together.
        """
        return None

    def unknown_words(self, text: str) -> Mapping[str, Sequence[str]]:
        """Words of a text that it does not know, each with known ones that are near. Default: none."""
        return {}

    def frame_sizes(self, video: Video) -> Sequence[int | None]:
        """Shorter sides at which `extract` will ask this video for frames, as far as they are known before.

        With several encoders on one clip each frame is then scaled to all their sizes when it is decoded, and
        decoded once. Default: none, which costs at most a second decoding. None means the video's own size.
        """
        return ()

    def smooth(self, track: TimedFeatures, times_s: NDArray[np.float64]) -> SmoothedTrack:
        """Track at the asked times: [T+1, D]. Core's default is the smoother that the spec names (design 4)."""
        period_s = None
        rate_hz = self.spec.rate_hz(self.options)
        if rate_hz:
            period_s = 1.0 / rate_hz
        values, valid = timeline.smooth(
            track.values,
            track.times_s,
            track.valid,
            times_s,
            kind=self.spec.smoother,
            native_period_s=period_s,
            max_gap_s=self.max_gap_s,
        )
        return SmoothedTrack(values, valid)

    def project(self, d_in: int, rank: int) -> torch.nn.Module:
        """Trainable map [.., d_in] -> [.., rank], saved with the adaptor. Paper eq. 2 and 4: no bias."""
        import torch  # noqa: PLC0415 - plugins stay light until they are built

        return torch.nn.Linear(d_in, rank, bias=False)
