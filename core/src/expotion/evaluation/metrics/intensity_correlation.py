"""Intensity correlation: does the output grow loud where the clip's intensity grows?

Pearson's r between the true intensity curve and the output's RMS level in dB, both at 10 Hz and smoothed over
0.5 s (`level.py`). A constant output has no correlation to speak of and counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.level import curve_times_s, level_db, smoothed

CONSTANT_DB = 1e-3
"""An output whose level varies by less than this (standard deviation, dB) counts as constant."""
MIN_POINTS = 5


def build() -> Callable[[Scored], Score]:
    """Return the metric; not defined for clips without a true intensity curve, or with a constant one."""

    def score(scored: Scored) -> Score:
        truth = scored.clip.truth
        if truth is None or not len(truth.intensity):
            return Score(None, "the clip has no true intensity curve")
        output_s = len(scored.samples) / scored.sample_rate_hz
        at_s = curve_times_s(min(output_s, float(truth.intensity_times_s[-1])))
        if len(at_s) < MIN_POINTS:
            return Score(None, f"the output is too short to correlate ({output_s:.2f} s)")
        intensity = smoothed(truth.intensity_times_s, truth.intensity, at_s)
        if float(np.std(intensity)) < 1e-6:
            return Score(None, "the clip's intensity is constant")
        level = level_db(scored.samples, scored.sample_rate_hz, at_s)
        if float(np.std(level)) < CONSTANT_DB:
            return Score(0.0, "the output's level is constant")
        return Score(float(np.corrcoef(intensity, level)[0, 1]))

    return score


SPEC = MetricSpec(
    name="intensity_correlation",
    description="Pearson r of the true intensity and the output's level in dB, 10 Hz, smoothed over 0.5 s",
    build=build,
    higher_is_better=True,
    needs=frozenset({"truth"}),
    not_comparable_with="correlations at another smoothing, or of linear level",
)
