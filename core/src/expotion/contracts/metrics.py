"""Metrics: what a plugin says of one, what it scores and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion.contracts.base import Weights, pulled_weights
from expotion.contracts.clips import Clip
from expotion.errors import Problem


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
"""Numbers over a set that core computes: `evaluate/`."""
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
    the sound is). `needs` says what the clip must have. `source` is the paper or definition. `measured_with()` says
    what was used where there is a choice (a tracker, a version), and `check()` what else is missing; both are
    cheap and import nothing heavy.

    For readers: `label` is its name in tables (default: the name, without underscores), `claim` the sentence
    that a clear effect of the video makes true ('The video drives the beat'), `thing` what else the report says
    no effect on or harm to ('the beat'); `digits` stand behind the point below 10. A `fraction` is 1 or 0 for a
    clip and per cent over clips; a `share` of a set lies between 0 and 1, and so does its interval. `compared`
    is false where the metric only tells whether others mean anything: no claim is made.
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
    claim: str = ""
    thing: str = ""
    digits: int = 2
    fraction: bool = False
    share: bool = False
    compared: bool = True

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
