"""What the checks share: the spec, the encoder once it is built, and its features of the basic clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures, TokenFeatures
from expotion.testing.clips import Scene, SyntheticClip

# What one check of the suite found.


@dataclass(frozen=True)
class CheckResult:
    """One check: `passed` is None where it does not apply; `detail` says what was found, `fix` what to do."""

    name: str
    passed: bool | None
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        state = {True: "ok", False: "failed", None: "not run"}[self.passed]
        text = f"{self.name}: {state}: {self.detail}"
        return f"{text}; {self.fix}" if self.passed is False and self.fix else text


class Failed(Exception):
    """Raised inside a check: what was found, and what to do about it."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


class NotApplicable(Exception):
    """Raised inside a check that has nothing to check; the message says why."""


@dataclass
class Subject:
    """One encoder under test. `encoder` and `features` are made on first use and kept."""

    spec: EncoderSpec
    options: Options
    given: dict[str, Any]
    clip: Clip
    scene: Scene | None
    full: bool
    tracks: Mapping[str, Path] = field(default_factory=dict)
    _encoder: Encoder | None = field(default=None)
    _features: TimedFeatures | TokenFeatures | None = field(default=None)

    @property
    def encoder(self) -> Encoder:
        """The built encoder."""
        if self._encoder is None:
            self._encoder = self.spec.build(self.options)
        return self._encoder

    @property
    def features(self) -> TimedFeatures | TokenFeatures:
        """Features of the basic clip."""
        if self._features is None:
            self._features = self.encoder.extract(self.clip)
        return self._features

    @property
    def track(self) -> TimedFeatures:
        """Features of the basic clip, where they are a track."""
        features = self.features
        if isinstance(features, TokenFeatures):
            raise NotApplicable("token features have no time")
        if not isinstance(features, TimedFeatures):
            raise Failed(
                f"extract returned {type(features).__name__}", "return TimedFeatures or TokenFeatures"
            )
        return features

    def synthetic(self, duration_s: float = 2.0, fps: float | None = 25.0, **changes: Any) -> SyntheticClip:
        """A synthetic clip with the subject's scene and sensor files unless others are given."""
        return SyntheticClip(duration_s, fps, **{"scene": self.scene, "tracks": self.tracks, **changes})
