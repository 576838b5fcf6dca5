"""Head pose, eye direction and lids at a steady rate."""

from __future__ import annotations

import hashlib

import numpy as np

from expotion.contracts import Clip, Encoder, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion_gaze import CHANNELS, SPEC, GazeOptions
from expotion_gaze.detector import check_model, detect
from expotion_gaze.results import Gazes, read_results

MAX_GAP_S = 0.3
"""Where no face is seen for longer there is nothing to say."""


class GazeEncoder(Encoder):
    """Rows [n, 6] by `CHANNELS`, linear between the frames in which a face is seen."""

    def __init__(self, options: GazeOptions) -> None:
        self.spec = SPEC
        self.options: GazeOptions = options
        self.rate_hz = options.rate_hz
        self._model = check_model(options.model) if options.source == "model" else None
        self._hash = "" if self._model is None else hashlib.sha256(self._model.read_bytes()).hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the model's file; '' where results are read."""
        return self._hash

    def extract(self, clip: Clip) -> TimedFeatures:
        """Features on a grid of `rate_hz`, from the clip's picture or its saved results."""
        found = self._gazes(clip)
        n = max(1, int(clip.duration_s * self.rate_hz))
        times_s = np.unique(np.minimum((np.arange(n) + 0.5) / self.rate_hz, clip.duration_s))
        at_s, values = found.times_s[found.seen], found.values[found.seen]
        if len(at_s) == 0:
            return TimedFeatures(
                np.zeros((len(times_s), len(CHANNELS)), np.float32), times_s, np.zeros(len(times_s), bool)
            )
        rows = np.stack([np.interp(times_s, at_s, values[:, c]) for c in range(len(CHANNELS))], axis=1)
        after = np.clip(np.searchsorted(at_s, times_s), 1, max(1, len(at_s) - 1))
        gap_s = at_s[np.minimum(after, len(at_s) - 1)] - at_s[after - 1]
        inside = (times_s >= at_s[0] - MAX_GAP_S) & (times_s <= at_s[-1] + MAX_GAP_S)
        return TimedFeatures(rows.astype(np.float32), times_s, inside & (gap_s <= MAX_GAP_S))

    def _gazes(self, clip: Clip) -> Gazes:
        if self._model is not None:
            if clip.video is None or len(clip.video.frame_times_s) == 0:
                return Gazes(np.zeros(0), np.zeros((0, len(CHANNELS))), np.zeros(0, bool))
            return detect(clip.video, self._model, self.rate_hz)
        path = clip.tracks.get(self.options.track)
        if path is None:
            known = ", ".join(clip.tracks) or "none"
            raise MediaError(Problem(clip.id, f"a results file called {self.options.track!r}", known))
        return read_results(path)
