"""Is the sound usable at all? 1 where it is not silent, not stuck, not clipped, else 0 with the reason.

A decoder that collapses gives silence, a constant or a square wave, which the other metrics only show as low
scores. The limits are far from music: quieter than -60 dB full scale over nine tenths of its time, a mean above a
tenth of full scale, or 1 % of the samples at full scale.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expotion.contracts import MetricSpec, Score, Scored
from expotion.evaluation.level import curve_times_s, level_db

SILENT_DB = -60.0
SILENT_SHARE = 0.9
MEAN_LIMIT = 0.1
FULL_SCALE = 0.999
CLIPPED_SHARE = 0.01


def build() -> Callable[[Scored], Score]:
    """Return the metric; not defined for a sound without samples."""

    def score(scored: Scored) -> Score:
        samples = scored.samples
        if not len(samples):
            return Score(None, "the output has no samples")
        if not np.isfinite(samples).all():
            return Score(0.0, "the output has samples that are not numbers")
        level = level_db(samples, scored.sample_rate_hz, curve_times_s(len(samples) / scored.sample_rate_hz))
        if float((level < SILENT_DB).mean()) > SILENT_SHARE:
            return Score(0.0, "the output is silent")
        if abs(float(samples.mean(dtype=np.float64))) > MEAN_LIMIT:
            return Score(0.0, "the output has a constant offset")
        clipped = float((np.abs(samples) >= FULL_SCALE).mean())
        if clipped > CLIPPED_SHARE:
            return Score(0.0, f"{100 * clipped:.0f} % of the samples are clipped")
        return Score(1.0)

    return score


SPEC = MetricSpec(
    name="level_sane",
    description="fraction of clips whose sound is neither silent nor stuck nor clipped",
    build=build,
    higher_is_better=True,
)
