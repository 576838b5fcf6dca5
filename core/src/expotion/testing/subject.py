"""How a suite runs: checks by name, what each found, and the encoder that an encoder's checks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expotion.contracts import Clip, Encoder, EncoderSpec, Options, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, in_short
from expotion.testing.clips import Scene, SyntheticClip


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


def run_all(checks: Iterable[tuple[str, Callable[[], str]]]) -> list[CheckResult]:
    """Results of named checks; what a check raises is its failure."""
    results = []
    for name, check in checks:
        try:
            result = CheckResult(name, True, check())
        except NotApplicable as reason:
            result = CheckResult(name, None, str(reason))
        except Failed as failure:
            result = CheckResult(name, False, failure.detail, failure.fix)
        except ExpotionError as error:
            result = CheckResult(name, False, str(error))
        except Exception as error:
            fix = "raise no other exception than an ExpotionError that says what is wrong with the clip"
            result = CheckResult(name, False, in_short(error), fix)
        results.append(result)
    return results


def raise_failed(kind: str, name: str, results: list[CheckResult]) -> list[CheckResult]:
    """The results, or an AssertionError that lists every failure and what to do about it."""
    failures = [str(result) for result in results if result.passed is False]
    if failures:
        head = f"{kind} {name!r} fails {len(failures)} of {len(results)} checks:"
        raise AssertionError("\n".join([head, *failures]))
    return results


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
            got = f"extract returned {type(features).__name__}"
            raise Failed(got, "return TimedFeatures or TokenFeatures")
        return features

    def synthetic(self, duration_s: float = 2.0, fps: float | None = 25.0, **changes: Any) -> SyntheticClip:
        """A synthetic clip with the subject's scene and sensor files unless others are given."""
        return SyntheticClip(duration_s, fps, **{"scene": self.scene, "tracks": self.tracks, **changes})
