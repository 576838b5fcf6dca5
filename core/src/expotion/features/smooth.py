"""Native track to model steps, and how much of a clip an encoder had something to say about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Encoder, SmoothedTrack, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, PluginError, Problem


def smooth_track(
    encoder: Encoder, track: TimedFeatures | TokenFeatures, n_frames: int, rate_hz: float
) -> SmoothedTrack:
    """A track at rows 0..T of the model's step rate: values float32 [T+1, D], valid bool [T+1] (design 4).

    The encoder's own `smooth` does the work; its result is checked. Raises ExpotionError for token features,
    PluginError for a result of another shape or with numbers that are not finite.
    """
    name = encoder.spec.name
    if isinstance(track, TokenFeatures):
        fix = "feed it through cross-attention"
        raise ExpotionError(Problem(f"encoder {name}", "a track with times to smooth", "token features", fix))
    smoothed = encoder.smooth(track, timeline.step_times_s(n_frames, rate_hz))
    shape = (n_frames + 1, track.values.shape[1])
    values, valid = smoothed.values, smoothed.valid
    if values.shape != shape or values.dtype != np.float32 or valid.shape != shape[:1] or valid.dtype != bool:
        got = f"values {values.dtype} {values.shape}, valid {valid.dtype} {valid.shape}"
        wanted = f"smooth() to give values float32 {shape} and valid bool {shape[:1]}"
        raise PluginError(Problem(f"encoder {name}", wanted, got, "correct the plugin's smooth()"))
    if not bool(np.isfinite(values).all()):
        raise PluginError(Problem(f"encoder {name}", "finite smoothed values", "NaN or infinity"))
    return smoothed


def sampled_at(encoder: Encoder, track: TimedFeatures, rate_hz: float | None) -> TimedFeatures:
    """A native track as it would be at a lower rate: its values at 0, 1 / rate, .. and at its last sample.

    Returned as it is where `rate_hz` is None or not below the track's own rate.
    """
    period_s = timeline.period_s(track.times_s)
    if rate_hz is None or period_s is None or rate_hz * period_s >= 1.0:
        return track
    last_s = float(track.times_s[-1])
    times_s = np.arange(int(np.floor((last_s + timeline.EPSILON_S) * rate_hz)) + 1) / rate_hz
    if last_s - times_s[-1] > timeline.EPSILON_S:
        times_s = np.append(times_s, last_s)
    found = encoder.smooth(track, times_s)
    return TimedFeatures(found.values, times_s, found.valid)


NOTABLE_GAP_S = 1.0
SHOWN_GAPS = 6


@dataclass(frozen=True)
class Coverage:
    """How much of a clip an encoder covers.

    `native` and `rows` are the valid fractions (0..1) of its own samples and of the smoothed rows; `gaps_s` are the
    stretches of invalid rows, (start, end) in seconds.
    """

    native: float
    rows: float
    gaps_s: tuple[tuple[float, float], ...]

    @property
    def longest_gap_s(self) -> float:
        """The longest stretch without a word; 0 for none."""
        return max((end - start for start, end in self.gaps_s), default=0.0)

    @property
    def is_notable(self) -> bool:
        """Whether a user should know: less than nine tenths, or a stretch of NOTABLE_GAP_S."""
        return self.rows < 0.9 or self.longest_gap_s >= NOTABLE_GAP_S

    @property
    def times(self) -> str:
        """`2 to 3.5 s, 9 to 12 s`: where nothing is said."""
        told = ", ".join(f"{round(a, 1):g} to {round(b, 1):g} s" for a, b in self.gaps_s[:SHOWN_GAPS])
        return told + (" and more" if len(self.gaps_s) > SHOWN_GAPS else "")

    def __str__(self) -> str:
        gap = f", longest gap {self.longest_gap_s:.1f} s" if self.gaps_s else ""
        where = f"; nothing at {self.times}" if self.rows and self.gaps_s else ""
        return f"{self.rows:.0%} of the clip{gap}{where}"


def coverage(track: TimedFeatures, smoothed: SmoothedTrack, rate_hz: float) -> Coverage:
    """Coverage of a native track and its smoothed form."""
    rows = smoothed.valid
    seconds = timeline.frames_duration_s
    gaps_s = tuple((seconds(start, rate_hz), seconds(end, rate_hz)) for start, end in gaps(rows))
    return Coverage(track.coverage, float(rows.mean()) if len(rows) else 0.0, gaps_s)


def gaps(valid: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches of invalid rows: the first of each, and the one after its last."""
    edges = np.diff(np.concatenate([[0], (~valid).astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
