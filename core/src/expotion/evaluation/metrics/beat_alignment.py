"""Beat alignment of motion and music: how near is the next beat of the music to each motion beat?

    BA = 1/|V| sum over t in V of exp(-min over b in B of (t - b)^2 / (2 sigma^2)),   sigma 50 ms

V are the motion beats of the clip's picture (`motion.py`), B the beats of the output. The formula and sigma (three
frames at 60 per second) are those of Li et al. 2021, 'AI Choreographer'. It looks at no true beats. A sound with
ever more beats scores ever higher, so it is read beside the tempo error and against shuffled controls, which score
about 0.25 on the conductor world.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.motion import motion_beats
from expotion.evaluation.trackers import beats_of, measured_with, problems

SIGMA_S = 0.05


def alignment(motion_s: NDArray[np.float64], music_s: NDArray[np.float64]) -> float:
    """The formula above for motion beats [v] and music beats [b], both at least 1, in seconds: 0..1."""
    nearest_s = np.abs(motion_s[:, None] - music_s[None, :]).min(axis=1)
    return float(np.exp(-(nearest_s**2) / (2 * SIGMA_S**2)).mean())


def build() -> Callable[[Scored], Score]:
    """Return the metric; not defined for clips without a picture or without motion beats within the output."""

    def score(scored: Scored) -> Score:
        motion_s = motion_beats(scored.clip)
        if motion_s is None:
            return Score(None, "the clip has no picture")
        motion_s = motion_s[motion_s <= len(scored.samples) / scored.sample_rate_hz]
        if not len(motion_s):
            return Score(None, "no motion beats in the picture")
        music_s = beats_of(scored.samples, scored.sample_rate_hz).beats_s
        if not len(music_s):
            return Score(0.0, "no beats found in the output")
        return Score(alignment(motion_s, music_s))

    return score


SPEC = MetricSpec(
    name="beat_alignment",
    description="how near a beat of the output is to each motion beat of the picture, sigma 50 ms",
    build=build,
    higher_is_better=True,
    needs=frozenset({"video"}),
    source="Li et al. 2021 (formula); Davis and Agrawala 2018 (visual beats)",
    not_comparable_with="dance papers, whose motion beats are speed minima of 3-D joints; another tracker",
    measured_with=measured_with,
    check=problems,
)
