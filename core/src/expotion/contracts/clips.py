"""What encoders and metrics see: a clip, its video, the truth about it; and where clips come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from expotion.contracts.base import Options, Weights


@runtime_checkable
class Video(Protocol):
    """Frames by time. Times are seconds from the clip's start, taken from the container's timestamps."""

    @property
    def frame_times_s(self) -> NDArray[np.float64]:
        """Presentation time of every frame, float64 [n], strictly increasing, first frame at or after 0."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, after rotation metadata."""
        ...

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> NDArray[np.uint8]:
        """RGB frames shown at these times (the last frame whose timestamp is not later), uint8 [m, H, W, 3].

        `shorter_side` scales frames (area averaging, aspect kept). Each source frame is decoded once however
        often it is asked for. Frames past a place where decoding stops repeat the last good one; see
        `decodable_until_s`.
        """
        ...

    @property
    def decodable_until_s(self) -> float:
        """Frames at and after this time could not be decoded (infinity when all could)."""
        ...


def read_ahead(video: Video, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> None:
    """Tell a video which frames `frames_at` will be asked for next, in this order.

    A video file then decodes them in the background, a bounded number ahead, while the encoder's model works on
    the frames before. It replaces what was announced earlier, is never needed for the result, and does nothing
    for a video that has no such method.
    """
    announce = getattr(video, "read_ahead", None)
    if announce is not None:
        announce(times_s, shorter_side=shorter_side)


@dataclass(frozen=True)
class Notes:
    """Notes in the order of their onsets, arrays [n]: seconds from the clip's start, MIDI pitch, velocity 1..127,
    and a number for the voice."""

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    voice: NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """Ground truth of a clip, where it is known. Times in seconds from the clip's start.

    `beats_s` [b] and `ictus_s` [b]; `intensity` (arousal) and `valence`, both 0..1, and `tempo_curve_bpm` [k] are
    sampled at `intensity_times_s` [k]; so are `landmarks`, pixels [k, 2] by name, unless `landmark_times_s` [f] has
    other times, those of the frames. At these: `visible` [f] by landmark, `framing` [f, 2, 3] from the
    world's lengths to pixels, `expression` [f], parts of the face by name. `events_s` has times by kind, some kinds
    also `event_strengths`. `traits` says in a word what holds from beginning to end, by name, as style or mood.
    """

    beats_s: NDArray[np.float64]
    intensity_times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]
    tempo_bpm: float | None = None
    ictus_s: NDArray[np.float64] | None = None
    tempo_curve_bpm: NDArray[np.float64] | None = None
    valence: NDArray[np.float64] | None = None
    notes: Notes | None = None
    landmarks: Mapping[str, NDArray[np.float64]] | None = None
    events_s: Mapping[str, NDArray[np.float64]] | None = None
    landmark_times_s: NDArray[np.float64] | None = None
    visible: Mapping[str, NDArray[np.bool_]] | None = None
    event_strengths: Mapping[str, NDArray[np.float64]] | None = None
    framing: NDArray[np.float64] | None = None
    expression: Mapping[str, NDArray[np.float64]] | None = None
    traits: Mapping[str, str] | None = None


class Clip(ABC):
    """One clip: a stretch of time with video, sound and a caption, any of which may be absent."""

    id: str
    duration_s: float
    caption: str | None = None
    path: Path | None = None
    truth: Truth | None = None
    tracks: Mapping[str, Path]
    """Sensor or control files that belong to the clip, by name (CSV and the like)."""

    @property
    @abstractmethod
    def content_hash(self) -> str:
        """Hex SHA-256 of what the clip is made of: the same clip has the same hash on every machine."""

    @property
    @abstractmethod
    def video(self) -> Video | None:
        """The picture, or None."""

    @abstractmethod
    def audio(self, sample_rate_hz: int) -> NDArray[np.float32] | None:
        """Mono samples float32 [n] at the given rate, from the clip's start, or None."""

    def close(self) -> None:  # noqa: B027 - optional to override
        """Free decoded frames and file handles."""


class DataSource(ABC):
    """Clips for training and testing."""

    @abstractmethod
    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        """Clips of a split, in a fixed order. Cheap: nothing is decoded or rendered until a clip is used."""

    def validation(self) -> Sequence[Clip]:
        """Clips of neither split, for the validation loss. Default: none; some training clips are kept back."""
        return ()

    def probes(self, n: int) -> Mapping[str, Sequence[Clip]]:
        """`n` clips for each of some rows in which the video does what it does in no training clip. Default: none.

        Each is scored with all controls against its own truth; a clip's id is its own, not that of a test clip.
        """
        return {}


@dataclass(frozen=True)
class DataSourceSpec:
    """A data source that a recipe can name; its `options` are the other keys of the recipe's `data`."""

    name: str
    description: str
    build: Callable[[Any], DataSource]
    options: type[Options] = Options


@dataclass(frozen=True)
class CaptionerRehearsal:
    """What a captioner found of itself at its real sizes without its weights, which are `n_bytes`.

    `layers`: what was run one layer deep, of how many. `computed_caption_s`: the longest caption through them all.
    `fault`: where the whole, built on torch's device `meta`, differs from what is published.
    """

    n_bytes: int
    layers: Mapping[str, int]
    walked_s: float
    computed_caption_s: float
    fault: str | None = None


@dataclass(frozen=True)
class CaptionerSpec:
    """Writes a caption for a clip. `build(options)` returns a function of one clip.

    `says` is what its words are of, as `scene`: `generate --prompt-from` finds it by that, too.
    `rehearse(options, clip)` is what `recipe rehearse` asks while the weights are not here; None where it cannot.
    """

    name: str
    description: str
    build: Callable[[Any], Callable[[Clip], str]]
    options: type[Options] = Options
    licence: str = "Apache-2.0"
    weights: Callable[[Any], Sequence[Weights]] = field(default=lambda options: ())
    says: str = ""
    rehearse: Callable[[Any, Clip], CaptionerRehearsal | None] = lambda options, clip: None
