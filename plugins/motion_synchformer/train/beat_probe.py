"""How much beat, tempo and intensity a linear map can read from a track: the quality measure of the tiny encoders.

The adaptor gives every condition one linear projection of each row, so a ridge regression from single rows,
interpolated to 50 Hz as the adaptor gets them, is the fair question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 50.0
PULSE_S = 0.04
TOLERANCE_S = 0.07
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """Scores on held-out clips: correlation of sin and cos of the beat phase (mean), F1 of picked peaks of the
    pulse at 70 ms, correlation of log tempo (per row) and of the intensity (all rows together, and mean per clip).
    """

    phase_r: float
    beat_f1: float
    log_tempo_r: float
    intensity_r: float
    intensity_r_in_clip: float

    def row(self) -> str:
        """One line of a Markdown table."""
        return (
            f"{self.phase_r:.3f} | {self.beat_f1:.3f} | {self.log_tempo_r:.3f} | "
            f"{self.intensity_r:.3f} | {self.intensity_r_in_clip:.3f}"
        )


@dataclass(frozen=True)
class Example:
    """One clip: a track (`values` [n, D] at `times_s` [n]) and the truth about it."""

    values: NDArray[np.float32]
    times_s: Floats
    beats_s: Floats
    tempo_bpm: float
    intensity_times_s: Floats
    intensity: Floats


def targets(example: Example, grid_s: Floats) -> Floats:
    """[m, 5]: sin and cos of the phase, the smoothed pulse, log2 of the tempo in Hz, the intensity."""
    hz = example.tempo_bpm / 60.0
    phase = 2 * np.pi * hz * (grid_s - example.beats_s[0])
    nearest = np.round((grid_s - example.beats_s[0]) * hz) / hz + example.beats_s[0]
    pulse = np.exp(-0.5 * ((grid_s - nearest) / PULSE_S) ** 2)
    intensity = np.interp(grid_s, example.intensity_times_s, example.intensity)
    return np.stack((np.sin(phase), np.cos(phase), pulse, np.full_like(phase, np.log2(hz)), intensity), axis=1)


def at_50_hz(example: Example) -> tuple[Floats, Floats]:
    """The track by linear interpolation on the 50 Hz grid inside its first and last row: times [m], values
    [m, D].
    """
    first, last = np.ceil(example.times_s[0] * RATE_HZ), np.floor(example.times_s[-1] * RATE_HZ)
    grid_s = np.arange(first, last + 1) / RATE_HZ
    columns = [np.interp(grid_s, example.times_s, column) for column in example.values.T.astype(np.float64)]
    return grid_s, np.stack(columns, axis=1)


def probe(fit: Sequence[Example], test: Sequence[Example], *, ridge: float = 10.0) -> Probe:
    """Fit a ridge map on some clips and score it on others."""
    inputs, wanted = [], []
    for example in fit:
        grid_s, values = at_50_hz(example)
        inputs.append(values)
        wanted.append(targets(example, grid_s))
    x, y = np.concatenate(inputs), np.concatenate(wanted)
    centre, scale = x.mean(0), x.std(0) + 1e-9
    x = (x - centre) / scale
    mean = y.mean(0)
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (y - mean))

    def read(example: Example) -> tuple[Floats, Floats]:
        grid_s, values = at_50_hz(example)
        return grid_s, (values - centre) / scale @ weights + mean

    levels = np.linspace(0.1, 0.7, 13)
    fit_read = [(example, *read(example)) for example in fit[:40]]
    level = max(levels, key=lambda v: np.mean([_f1(pick(g, p[:, 2], v), e.beats_s, g) for e, g, p in fit_read]))
    read_all = [(example, *read(example)) for example in test]
    predicted = np.concatenate([p for _, _, p in read_all])
    true = np.concatenate([targets(e, g) for e, g, _ in read_all])
    r = [_correlation(predicted[:, column], true[:, column]) for column in range(5)]
    return Probe(
        phase_r=(r[0] + r[1]) / 2,
        beat_f1=float(np.mean([_f1(pick(g, p[:, 2], float(level)), e.beats_s, g) for e, g, p in read_all])),
        log_tempo_r=r[3],
        intensity_r=r[4],
        intensity_r_in_clip=float(np.mean([_correlation(p[:, 4], targets(e, g)[:, 4]) for e, g, p in read_all])),
    )


def pick(grid_s: Floats, curve: Floats, level: float) -> Floats:
    """Times of local maxima above a level, at least 0.25 s apart (the higher one wins)."""
    inner = np.flatnonzero((curve[1:-1] >= curve[:-2]) & (curve[1:-1] > curve[2:]) & (curve[1:-1] > level)) + 1
    kept: list[int] = []
    for index in sorted(inner, key=lambda i: -curve[i]):
        if all(abs(grid_s[index] - grid_s[other]) >= 0.25 for other in kept):
            kept.append(int(index))
    return grid_s[sorted(kept)]


def _f1(found_s: Floats, beats_s: Floats, grid_s: Floats) -> float:
    inside = beats_s[(beats_s >= grid_s[0]) & (beats_s <= grid_s[-1])]
    if len(found_s) == 0 or len(inside) == 0:
        return 0.0
    hits = 0
    free = list(found_s)
    for beat in inside:
        near = min(free, key=lambda t: abs(t - beat), default=None)
        if near is not None and abs(near - beat) <= TOLERANCE_S:
            free.remove(near)
            hits += 1
    return 2 * hits / (len(found_s) + len(inside))


def _correlation(a: Floats, b: Floats) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
