"""Level and jolts of a recording at a steady rate."""

from __future__ import annotations

import numpy as np

from expotion.contracts import Clip, Encoder, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion_sensor import SPEC, SensorOptions
from expotion_sensor.recording import Floats, read_columns, read_events

GAP_S = 0.5
"""Longer silences between samples in columns count as nothing to say. Events hold until the next one."""
_FINE = 4
"""Points within a row, to see jolts that are shorter than it."""


class SensorEncoder(Encoder):
    """Rows [n, C] or, with jolts, [n, 2C], at the centres of a grid of `rate_hz`.

    level: the mean over the row, less the recording's median (gravity, an offset), over `scale`.
    jolt: log(1 + mean |change per second| / (10 scale)); a blow is a clear peak whatever its direction.
    """

    def __init__(self, options: SensorOptions) -> None:
        self.spec = SPEC
        self.options: SensorOptions = options
        self.channels, self.rate_hz = options.channels, options.rate_hz

    def extract(self, clip: Clip) -> TimedFeatures:
        """The recording on the clip's time; rows before the first sample and in gaps are invalid."""
        path = clip.tracks.get(self.options.track)
        if path is None:
            known = ", ".join(clip.tracks) or "none"
            fix = "set the option `track`, or put the file beside the clip"
            raise MediaError(Problem(clip.id, f"a sensor file called {self.options.track!r}", known, fix))
        events = self.options.layout == "events"
        recorded = (read_events if events else read_columns)(path, self.channels)
        n = max(1, int(clip.duration_s * self.rate_hz))
        times_s = np.unique(np.minimum((np.arange(n) + 0.5) / self.rate_hz, clip.duration_s))
        parts = [self._channel(*recorded[name], times_s, events) for name in self.channels]
        valid = np.logical_and.reduce([known for _, _, known in parts])
        columns = [level for level, _, _ in parts] + ([jolt for _, jolt, _ in parts] if self.options.jolts else [])
        values = np.where(valid[:, None], np.stack(columns, axis=1), 0.0).astype(np.float32)
        return TimedFeatures(values, times_s, valid)

    def _channel(
        self, at_s: Floats, values: Floats, times_s: Floats, events: bool
    ) -> tuple[Floats, Floats, np.ndarray]:
        if len(at_s) == 0:
            return np.zeros(len(times_s)), np.zeros(len(times_s)), np.zeros(len(times_s), bool)
        fine_s = times_s[:, None] + (np.arange(_FINE + 1) / _FINE - 0.5) / self.rate_hz  # [n, _FINE + 1]
        before = np.searchsorted(at_s, times_s, side="right") - 1
        if events:
            held = values[np.maximum(np.searchsorted(at_s, fine_s, side="right") - 1, 0)]
            known = before >= 0
        else:
            held = np.interp(fine_s, at_s, values)
            after = np.minimum(before + 1, len(at_s) - 1)
            known = (before >= 0) & (times_s <= at_s[-1] + GAP_S) & (at_s[after] - at_s[before] <= GAP_S)
        scale = self.options.scale
        level = (held.mean(axis=1) - np.median(values)) / scale
        change_per_s = np.abs(np.diff(held, axis=1)).sum(axis=1) * self.rate_hz
        return level, np.log1p(change_per_s / (10 * scale)), known
