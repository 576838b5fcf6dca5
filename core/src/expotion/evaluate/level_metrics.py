"""Intensity correlation: does the output grow loud where the clip's intensity grows?

Pearson's r between the true intensity curve and the output's RMS level in dB, both at 10 Hz and smoothed over
0.5 s. A constant output has no correlation to speak of and counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import MetricSpec, Score, Scored

# Loudness over time, and a curve brought to the same clock: 10 values per second, smoothed over 0.5 s.

RATE_HZ = 10.0
WINDOW_S = 0.5
FLOOR_DB = -80.0


def curve_times_s(duration_s: float) -> NDArray[np.float64]:
    """Times of the common clock, float64 [k]: 0, 0.1, .. up to the duration."""
    return np.arange(int(np.floor(duration_s * RATE_HZ + 1e-6)) + 1, dtype=np.float64) / RATE_HZ


def level_db(samples: NDArray[np.float32], sample_rate_hz: int, at_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """RMS level in dB full scale at times [k], each over the 0.5 s around it, float64 [k].

    The smoothing is of power, before the logarithm, so that the pauses between notes do not outweigh the
    notes. Windows are cut at the ends of the sound. Nothing falls below -80 dB.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.asarray(samples, dtype=np.float64) ** 2)])
    half = WINDOW_S / 2
    start = np.clip(np.round((at_s - half) * sample_rate_hz).astype(np.int64), 0, len(samples))
    stop = np.clip(np.round((at_s + half) * sample_rate_hz).astype(np.int64), 0, len(samples))
    power = (energy[stop] - energy[start]) / np.maximum(stop - start, 1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10))), dtype=np.float64)


def smoothed(
    times_s: NDArray[np.float64], values: NDArray[np.float64], at_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of a curve over the 0.5 s around each time [k], float64 [k].

    The curve is read by linear interpolation; windows are cut at its first and last time.
    """
    offsets = np.linspace(-WINDOW_S / 2, WINDOW_S / 2, 51)
    window = at_s[:, None] + offsets[None, :]  # [k, 51]
    inside = (window >= times_s[0] - 1e-9) & (window <= times_s[-1] + 1e-9)
    read = np.interp(window, times_s, values)
    counted = np.maximum(inside.sum(axis=1), 1)
    edge = np.interp(at_s, times_s, values)
    means = (read * inside).sum(axis=1) / counted
    return np.asarray(np.where(inside.any(axis=1), means, edge), dtype=np.float64)


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


INTENSITY_CORRELATION = MetricSpec(
    name="intensity_correlation",
    description="Pearson r of the true intensity and the output's level in dB, 10 Hz, smoothed over 0.5 s",
    build=build,
    higher_is_better=True,
    needs=frozenset({"truth"}),
    not_comparable_with="correlations at another smoothing, or of linear level",
    label="Intensity correlation",
    claim="The video drives the loudness",
    thing="the loudness",
)


# Is the sound usable at all? 1 where it is not silent, not stuck, not clipped, else 0 with the reason.
#
# A decoder that collapses gives silence, a constant or a square wave, which the other metrics only show as low
# scores. The limits are far from music: quieter than -60 dB full scale over nine tenths of its time, a mean above a
# tenth of full scale, or 1 % of the samples at full scale.

SILENT_DB = -60.0
SILENT_SHARE = 0.9
MEAN_LIMIT = 0.1
FULL_SCALE = 0.999
CLIPPED_SHARE = 0.01


def build_level_sane() -> Callable[[Scored], Score]:
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


LEVEL_SANE = MetricSpec(
    name="level_sane",
    description="fraction of clips whose sound is neither silent nor stuck nor clipped",
    build=build_level_sane,
    higher_is_better=True,
    label="Usable sound",
    fraction=True,
    compared=False,
)
