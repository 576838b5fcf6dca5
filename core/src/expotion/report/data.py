"""What a report is made of: plain values, so that it can be made again from a run folder.

Times are seconds from the clip's start. Arrays: n samples or rows, c columns, b beats, L adapted layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import Clip, MetricSpec

Numbers = Mapping[str, float | int | None]
"""{mean, ci_low, ci_high, n}; null where n = 0."""
Results = Mapping[str, Mapping[str, Numbers]]
"""condition -> metric -> numbers, the shape of metrics.json."""

CONTROLS = ("text_only", "shuffled")
"""Conditions that a control must beat."""
REFERENCES = ("lenders_truth", "fader_on_frozen", "clicks_on_frozen", "codec_ceiling", "ground_truth")
"""Conditions that bound what can be reached, or say what the controls are worth alone."""

PROBE = "probe_"
"""How the rows begin in which the video does what it does in no training clip."""


@dataclass(frozen=True)
class RunInfo:
    """What was run, by which command, with which versions; all of it shown as text."""

    name: str
    description: str = ""
    created: str = ""
    command: str = ""
    recipe_yaml: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    failures: Sequence[str] = ()


@dataclass(frozen=True)
class MetricInfo:
    """What a report says of a metric; the fields are those of `MetricSpec`."""

    name: str
    description: str
    higher_is_better: bool
    unit: str = ""
    label: str = ""
    claim: str = ""
    thing: str = ""
    digits: int = 2
    fraction: bool = False
    compared: bool = True

    @classmethod
    def of(cls, spec: MetricSpec, notes: Sequence[str] = ()) -> MetricInfo:
        """What a metric's plugin says, with what was noted when it was computed."""
        told = {field.name: getattr(spec, field.name) for field in fields(cls)}
        return cls(**told | {"description": "; ".join([spec.description, *notes])})

    @classmethod
    def from_json(cls, metric: Mapping[str, Any]) -> MetricInfo:
        """A metric of a table's JSON, which an earlier version may have written."""
        return cls(**{field.name: metric[field.name] for field in fields(cls) if field.name in metric})


@dataclass(frozen=True)
class TrainingHistory:
    """A training run. `steps`: {step, loss, learning_rate}; `validation`: {step, loss, baseline_loss?};
    `gates`: {step, gates: [L values]}; `layers`: the decoder layers of the gates (default 0..L-1).
    """

    steps: Sequence[Mapping[str, Any]]
    validation: Sequence[Mapping[str, Any]] = ()
    gates: Sequence[Mapping[str, Any]] = ()
    layers: Sequence[int] = ()


@dataclass(frozen=True)
class Sound:
    """A sound track: `samples` float32 [n] mono, and the beats [b] that the tracker found in it."""

    samples: NDArray[np.float32]
    sample_rate_hz: int
    beats_s: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Control:
    """A smoothed track as the adaptor saw it: `times_s` [n], `values` [n, c], `valid` [n], strength."""

    name: str
    times_s: NDArray[np.float64]
    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    strength: float | NDArray[np.float64] = 1.0


@dataclass(frozen=True)
class Gates:
    """How much the adapted layers let through over a clip: `times_s` [n], `values` [n, L]."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float32]
    layers: Sequence[int] = ()
    what: str = "gate × RMS of the gated attention"


@dataclass(frozen=True)
class Sample:
    """One clip to see and hear. `sounds` in the order of the switch: 'original', then condition names."""

    id: str
    caption: str | None
    duration_s: float
    video: Path | bytes | None
    sounds: Mapping[str, Sound]
    beats_true_s: NDArray[np.float64] | None = None
    beats_true_label: str = "true beats"
    intensity_times_s: NDArray[np.float64] | None = None
    intensity: NDArray[np.float64] | None = None
    controls: Sequence[Control] = ()
    gates: Gates | None = None

    @classmethod
    def of(cls, clip: Clip, video: Path | None, sounds: Mapping[str, Sound], **more: Any) -> Sample:
        """A clip with what is true of it, where that is known."""
        truth = clip.truth
        if truth is not None:
            more |= {"beats_true_s": truth.beats_s}
            more |= {"intensity_times_s": truth.intensity_times_s, "intensity": truth.intensity}
        return cls(clip.id, clip.caption, clip.duration_s, video, sounds, **more)


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; `metrics`, `comparisons`, `per_clip` as in the run's JSON files."""

    run: RunInfo
    metrics: Results
    comparisons: Mapping[str, Results]
    per_clip: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
    metric_info: Sequence[MetricInfo]
    training: TrainingHistory | None = None
    samples: Sequence[Sample] = ()
    main_condition: str | None = None
    extra: Sequence[tuple[str, str]] = ()
    """Title and HTML of sections that plugins add."""
    no_value: str = ""
    """A line on metrics without any value."""

    @property
    def main(self) -> str | None:
        """What the report is about: the condition given, else the joint one, else the first trained."""
        if self.main_condition is not None:
            return self.main_condition
        trained = [name for name in self.metrics if name not in (*CONTROLS, *REFERENCES)]
        return max(trained, key=lambda name: name.count("+"), default=None)


@dataclass(frozen=True)
class ReportInfo:
    """What was written: the file's size, and notes on what was left out to keep it small."""

    path: Path
    size_bytes: int
    notes: tuple[str, ...] = ()
