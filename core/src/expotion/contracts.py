"""What a plugin announces and what core promises in return. This file is the public API.

A plugin is a module named by an entry point in the group `expotion.plugins`. It implements any of the hooks
at the bottom of this file; each returns a list of specs, plain descriptions that import nothing heavy. Core
picks one by name and calls its `build`. No hook is called while a model runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pluggy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from expotion import timeline
from expotion.errors import ExpotionError, Problem
from expotion.files import cache_folder  # public too: where a plugin may keep files

if TYPE_CHECKING:
    import torch

API_VERSION = "1.2"
"""Version of this contract: the major part changes when a plugin must change."""

ENTRY_POINT_GROUP = "expotion.plugins"

Need = Literal["video", "audio", "text", "file"]
Feed = Literal["prefix", "cross_attention"]


class Options(BaseModel):
    """Base of every plugin's options: unknown keys are refused, values are not changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------------------------------------- features


@dataclass(frozen=True)
class TimedFeatures:
    """A native track: what an encoder saw, when it saw it, and where it had something to say.

    Shapes: `values` float32 [n, D]; `times_s` float64 [n], strictly increasing seconds from the clip's start;
    `valid` bool [n], false where the encoder has nothing to say (values there are finite and ignored).
    """

    values: NDArray[np.float32]
    times_s: NDArray[np.float64]
    valid: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.times_s)
        expected = (
            ("values", self.values, np.float32, self.values.ndim == 2 and len(self.values) == n, "[n, D]"),
            ("times_s", self.times_s, np.float64, self.times_s.ndim == 1, "[n]"),
            ("valid", self.valid, np.bool_, self.valid.shape == (n,), "[n]"),
        )
        problems = [
            Problem(
                f"TimedFeatures.{name}", f"{np.dtype(dtype)} {shape}, n = {n}", f"{array.dtype} {array.shape}"
            )
            for name, array, dtype, fits, shape in expected
            if not fits or array.dtype != dtype
        ]
        if problems:
            raise ExpotionError(problems)
        if n > 1 and not bool(np.all(np.diff(self.times_s) > 0)):
            raise ExpotionError(Problem("TimedFeatures.times_s", "strictly increasing seconds"))
        if not bool(np.isfinite(self.values).all()):
            raise ExpotionError(
                Problem(
                    "TimedFeatures.values",
                    "finite values",
                    "NaN or infinity",
                    "mark such samples valid=False",
                )
            )

    @property
    def coverage(self) -> float:
        """Fraction of samples that are valid, 0..1 (0 for an empty track)."""
        return float(self.valid.mean()) if len(self.valid) else 0.0


@dataclass(frozen=True)
class TokenFeatures:
    """Features without a rate (text). `values` float32 [n, D]; `mask` bool [n], false at padding."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class SmoothedTrack:
    """A track at the language model's step rate: `values` float32 [T+1, D], `valid` bool [T+1]."""

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]


# ------------------------------------------------------------------------------------------------- clips


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

    def frames_at(
        self, times_s: NDArray[np.float64], *, shorter_side: int | None = None
    ) -> NDArray[np.uint8]:
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
class Truth:
    """Ground truth of a clip, where it is known. Times in seconds from the clip's start.

    `beats_s` [b] and `ictus_s` [b]; `intensity` [k] in 0..1 sampled at `intensity_times_s` [k].
    """

    beats_s: NDArray[np.float64]
    intensity_times_s: NDArray[np.float64]
    intensity: NDArray[np.float64]
    tempo_bpm: float | None = None
    ictus_s: NDArray[np.float64] | None = None


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


# ---------------------------------------------------------------------------------------------- encoders


@dataclass(frozen=True)
class Weights:
    """A file of weights that an encoder needs: where it comes from and under which licence.

    `source` is 'shipped' (inside the package), 'seeded' (made from a seed, nothing to download), or an
    identifier that `expotion models pull` understands.
    """

    name: str
    source: str
    licence: str
    non_commercial: bool = False
    size_bytes: int | None = None
    sha256: str | None = None


def pulled_weights(name: str) -> Path | None:
    """The file that `expotion models pull NAME` left in the cache, or None. Cheap: nothing is downloaded."""
    import json  # noqa: PLC0415 - only where official weights are asked for

    try:
        note = json.loads((cache_folder() / "models" / name / "model.json").read_text(encoding="utf-8"))
        path = Path(note["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if path.is_file() else None


@dataclass(frozen=True)
class EncoderSpec:
    """What a plugin says about an encoder without building it.

    `width(options)` is D; `rate_hz(options)` is the native rate (None: no fixed rate, or token features);
    `build(options)` imports what it needs and returns the encoder. `smoother` names core's smoother.
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


@dataclass(frozen=True)
class Overlay:
    """What an encoder looked at: boxes and motion, by time.

    `boxes` float64 [n, 5]: (time_s, x0, y0, x1, y1), times increasing, corners as fractions of the picture's width
    and height; NaN corners where there is no box. A box stands until the next row. `vector_times_s` float64 [m],
    increasing, and `vectors` float32 [m, rows, columns, 2]: motion (right, down) in picture widths per second on a
    grid over the whole picture. `note` says in a sentence how it was made.
    """

    note: str
    boxes: NDArray[np.float64] | None = None
    vector_times_s: NDArray[np.float64] | None = None
    vectors: NDArray[np.float32] | None = None


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


# ------------------------------------------------------------------- backbones, data, metrics, captioners


@dataclass(frozen=True)
class BackboneSpec:
    """A MusicGen that a recipe can name. `locate()` returns a folder in the layout of transformers' MusicGen."""

    name: str
    description: str
    locate: Callable[[], Path]
    licence: str = "Apache-2.0"
    non_commercial: bool = False
    default_adaptor: Callable[[], Path] | None = None
    """A trained adaptor folder for `expotion generate` without --adaptor."""


class DataSource(ABC):
    """Clips for training and testing."""

    @abstractmethod
    def clips(self, split: Literal["train", "test"]) -> Sequence[Clip]:
        """Clips of a split, in a fixed order. Cheap: nothing is decoded or rendered until a clip is used."""

    def validation(self) -> Sequence[Clip]:
        """Clips of neither split, for the validation loss. Default: none; some training clips are kept back."""
        return ()


@dataclass(frozen=True)
class DataSourceSpec:
    """A data source that a recipe can name; its `options` are the other keys of the recipe's `data`."""

    name: str
    description: str
    build: Callable[[Any], DataSource]
    options: type[Options] = Options


@dataclass(frozen=True)
class Scored:
    """A generated (or real) sound to be scored. `samples` float32 [n] mono."""

    samples: NDArray[np.float32]
    sample_rate_hz: int
    clip: Clip
    prompt: str | None = None


@dataclass(frozen=True)
class Score:
    """A metric's value for one clip; None with the `reason` where it is not defined."""

    value: float | None
    reason: str | None = None


Rows = NDArray[np.float32]
"""What a metric over a set keeps of one sound: float32 [k, d], k rows (windows) of d dimensions."""
SetStatistic = Literal["frechet", "frechet_infinity", "inception_score"]
"""Numbers over a set that core computes: `evaluation/frechet.py`, `evaluation/inception.py`."""
MetricNeed = Literal["prompt", "video", "sound", "truth"]


@dataclass(frozen=True)
class MetricSpec:
    """A metric of single sounds, or of a set of them.

    `over` is `clip`: `build()` returns a function from one scored sound to a `Score`, and the table shows the mean
    over clips. `over` is `set`: it returns a function from one scored sound to its `Rows` (or a `Score` without a
    value, with the reason), and `statistic` makes one number of the rows of all sounds and of the clips' own
    sounds: one of core's by name, or a function (sounds, reference) -> `Score`, each a sequence of rows. Metrics
    whose `build` is the same function share the rows.

    `packages` are requirements (`hear21passt>=0.0.25`) and `weights` files that must be there before a run starts;
    nothing is imported to find out. `sample_rate_hz`: core resamples to it before it calls the metric (None: as
    the sound is). `needs` says what the clip must have. `source` is the paper or definition. `label` is the name
    for readers of tables (default: the name, without underscores). `measured_with()` says what was used where there
    is a choice (a tracker, a version), and `check()` what else is missing; both are cheap, import nothing heavy.
    """

    name: str
    description: str
    build: Callable[[], Callable[[Scored], Any]]
    higher_is_better: bool
    unit: str = ""
    licence: str = "Apache-2.0"
    not_comparable_with: str = ""
    over: Literal["clip", "set"] = "clip"
    statistic: SetStatistic | Callable[[Sequence[Rows], Sequence[Rows]], Score] | None = None
    packages: Sequence[str] = ()
    weights: Sequence[Weights] = ()
    sample_rate_hz: int | None = None
    needs: frozenset[MetricNeed] = frozenset()
    source: str = ""
    label: str = ""
    measured_with: Callable[[], str] = field(default=lambda: "")
    check: Callable[[], Sequence[Problem]] = field(default=lambda: ())

    def missing(self) -> list[Problem]:
        """What is not installed or not pulled, each with what to do. Empty: the metric can be computed here."""
        where = f"metric {self.name!r}"
        problems = [
            Problem(where, f"the package {text}", got, f"install it: uv pip install '{text}'")
            for text in self.packages
            if (got := _not_installed(text)) is not None
        ]
        return [*problems, *self.check()] + [
            Problem(
                where,
                f"the weights {weights.name} ({weights.licence})",
                "not pulled",
                f"expotion models pull {weights.name}",
            )
            for weights in self.weights
            if weights.source not in ("shipped", "seeded") and pulled_weights(weights.name) is None
        ]


def _not_installed(requirement: str) -> str | None:
    """None where a distribution that fits is installed; else what is there instead."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - only when a metric is checked

    from packaging.requirements import Requirement  # noqa: PLC0415

    wanted = Requirement(requirement)
    try:
        there = version(wanted.name)
    except PackageNotFoundError:
        return "not installed"
    return None if wanted.specifier.contains(there, prereleases=True) else f"{wanted.name} {there}"


@dataclass(frozen=True)
class CaptionerSpec:
    """Writes a caption for a clip. `build(options)` returns a function of one clip."""

    name: str
    description: str
    build: Callable[[Any], Callable[[Clip], str]]
    options: type[Options] = Options
    licence: str = "Apache-2.0"
    weights: Callable[[Any], Sequence[Weights]] = field(default=lambda options: ())


# ------------------------------------------------------------------------- training callbacks, report sections


class TrainingCallback:
    """Told what happens in training; override what you need. What it raises is logged, and training goes on."""

    def on_start(self, folder: Path, recipe: Mapping[str, Any], first_step: int) -> None:
        """Training starts, or goes on, at a step; `folder` is the run's, `recipe` plain data."""

    def on_step(self, record: Mapping[str, Any]) -> None:
        """A step is done: `step`, `loss`, `learning_rate`, `gradient_norm`, `step_s`, `gates`; where it was
        validated also `validation_loss`, `baseline_loss`, `control_gain`."""

    def on_end(self, finished: bool) -> None:
        """Training is over; `finished` is false where it was stopped."""


@dataclass(frozen=True)
class CallbackSpec:
    """A training callback that a recipe can name in `train.callbacks`. `build()` imports what it needs."""

    name: str
    description: str
    build: Callable[[], TrainingCallback]


@dataclass(frozen=True)
class ReportSectionSpec:
    """A section of the report of runs whose recipe lists the plugin's distribution under `plugins`.

    `build()` returns a function from the run folder (the README in it says what is where) to HTML that stands on
    its own, inside the page: no scripts or styles from elsewhere. An empty string leaves the section out.
    """

    name: str
    title: str
    build: Callable[[], Callable[[Path], str]]


# --------------------------------------------------------------------------------------- golden numbers


class GoldenFile(Protocol):
    """Reference numbers (`NAME.json` and `NAME.npz`) as a check reads them.

    Reading an array marks it as used: an array that the JSON lists and no check uses is a failure. An array that
    is not there raises an `ExpotionError`, which the runner turns into a failure of that file.
    """

    @property
    def about(self) -> Mapping[str, Any]:
        """The JSON: sizes, seeds, notes. Sizes that a shape tells are better read from the shape."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Names of all arrays."""
        ...

    def array(self, name: str) -> NDArray[Any]:
        """One array, writable, a copy."""
        ...

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All arrays whose names begin with `prefix`, by the rest of the name."""
        ...

    def setting(self, *path: str) -> Any:
        """A value of the JSON by its keys from the outside in; an `ExpotionError` where it is not there."""
        ...

    def compare(
        self, quantity: str, got: Any, wanted: str | NDArray[Any], tolerance: float, *, relative: bool = False
    ) -> None:
        """Compare a result (array or tensor) with the array named `wanted` or given; note the largest deviation.

        Shapes must be equal and NaN must stand in the same places. Tolerance 0 asks for equality; `relative`
        divides by the largest absolute wanted value. Several comparisons of one quantity are one line.
        """
        ...


@dataclass(frozen=True)
class GoldenCheckSpec:
    """A kind of golden file and how to check one: `build()` imports what it needs and returns the check."""

    kind: str
    build: Callable[[], Callable[[GoldenFile], None]]
    description: str = ""

    @property
    def name(self) -> str:
        """The kind: the beginning of the files' names."""
        return self.kind


# ------------------------------------------------------------------------------------------------- hooks

hookspec = pluggy.HookspecMarker("expotion")
hookimpl = pluggy.HookimplMarker("expotion")


@hookspec
def expotion_encoders() -> list[EncoderSpec]:
    """Encoders that this plugin offers."""
    return []


@hookspec
def expotion_backbones() -> list[BackboneSpec]:
    """Backbones that this plugin offers."""
    return []


@hookspec
def expotion_data_sources() -> list[DataSourceSpec]:
    """Data sources that this plugin offers."""
    return []


@hookspec
def expotion_metrics() -> list[MetricSpec]:
    """Metrics that this plugin offers."""
    return []


@hookspec
def expotion_captioners() -> list[CaptionerSpec]:
    """Captioners that this plugin offers."""
    return []


@hookspec
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Kinds of golden files that this plugin can check (`expotion verify`)."""
    return []


@hookspec
def expotion_training_callbacks() -> list[CallbackSpec]:
    """Training callbacks that this plugin offers."""
    return []


@hookspec
def expotion_report_sections() -> list[ReportSectionSpec]:
    """Sections that this plugin adds to reports."""
    return []
