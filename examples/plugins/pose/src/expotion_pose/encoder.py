"""Landmarks to features: where the upper body is and how fast it moves, whoever and however far away it is."""

from __future__ import annotations

import hashlib

import numpy as np

from expotion.contracts import Clip, Encoder, TimedFeatures
from expotion.errors import MediaError, Problem
from expotion_pose import POINTS, SPEC, PoseOptions
from expotion_pose.detector import check_model, detect
from expotion_pose.results import Landmarks, read_results

MAX_GAP_S = 0.3
"""A keypoint that is hidden for longer has nothing to say."""
VELOCITY_SPAN_S = 0.04


class PoseEncoder(Encoder):
    """Rows [n, 28]: x, y of 7 keypoints from the middle of the shoulders in shoulder widths, then their velocities.

    A row is valid where both shoulders and at least one wrist are seen; a hidden keypoint counts as the middle.
    """

    def __init__(self, options: PoseOptions) -> None:
        self.spec = SPEC
        self.options: PoseOptions = options
        self.rate_hz = options.rate_hz
        self._model = check_model(options.model) if options.source == "model" else None
        self._hash = "" if self._model is None else hashlib.sha256(self._model.read_bytes()).hexdigest()

    @property
    def weights_hash(self) -> str:
        """SHA-256 of the model's file; '' where results are read."""
        return self._hash

    def extract(self, clip: Clip) -> TimedFeatures:
        """Features on a grid of `rate_hz`, from the clip's picture or its saved results."""
        found = self._landmarks(clip)
        n = max(1, int(clip.duration_s * self.rate_hz))
        times_s = np.unique(np.minimum((np.arange(n) + 0.5) / self.rate_hz, clip.duration_s))
        values, valid = features(found, times_s, self.options.min_visibility, self._aspect(clip))
        return TimedFeatures(values, times_s, valid)

    def _landmarks(self, clip: Clip) -> Landmarks:
        if self._model is not None:
            if clip.video is None or len(clip.video.frame_times_s) == 0:
                return Landmarks(np.zeros(0), np.zeros((0, 33, 3)))
            return detect(clip.video, self._model, self.rate_hz)
        path = clip.tracks.get(self.options.track)
        if path is None:
            known = ", ".join(clip.tracks) or "none"
            raise MediaError(Problem(clip.id, f"a results file called {self.options.track!r}", known))
        return read_results(path)

    def _aspect(self, clip: Clip) -> float:
        if clip.video is None:
            return 1.0
        height, width = clip.video.size
        return width / height


def features(
    found: Landmarks, times_s: np.ndarray, min_visibility: float, aspect: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Values float32 [n, 28] and valid [n] at `times_s`; x counts in frame heights by the frame's `aspect`."""
    names = list(POINTS)
    place = {name: _at(found, POINTS[name], times_s, min_visibility, aspect) for name in names}
    later = {name: _at(found, POINTS[name], times_s + VELOCITY_SPAN_S, min_visibility, aspect) for name in names}
    earlier = {name: _at(found, POINTS[name], times_s - VELOCITY_SPAN_S, min_visibility, aspect) for name in names}
    left, right = place["left_shoulder"], place["right_shoulder"]
    middle = (left[0] + right[0]) / 2
    width = np.maximum(np.linalg.norm(left[0] - right[0], axis=1), 1e-3)[:, None]
    columns = [np.where(place[n][1][:, None], (place[n][0] - middle) / width, 0.0) for n in names]
    for name in names:
        known = later[name][1] & earlier[name][1]
        speed = (later[name][0] - earlier[name][0]) / (2 * VELOCITY_SPAN_S) / width
        columns.append(np.where(known[:, None], np.clip(speed / 5.0, -4.0, 4.0), 0.0))
    wrist = place["left_wrist"][1] | place["right_wrist"][1]
    valid = left[1] & right[1] & wrist
    values = np.where(valid[:, None], np.concatenate(columns, axis=1), 0.0)
    return values.astype(np.float32), valid


def _at(
    found: Landmarks, point: int, times_s: np.ndarray, min_visibility: float, aspect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Place [n, 2] and known [n] of a keypoint: linear between the frames in which it is seen."""
    seen = found.points[:, point, 2] >= min_visibility if len(found.times_s) else np.zeros(0, bool)
    at_s = found.times_s[seen]
    if len(at_s) == 0:
        return np.zeros((len(times_s), 2)), np.zeros(len(times_s), bool)
    xy = found.points[seen, point, :2] * np.array([aspect, 1.0])
    place = np.stack([np.interp(times_s, at_s, xy[:, axis]) for axis in (0, 1)], axis=1)
    after = np.clip(np.searchsorted(at_s, times_s), 1, max(1, len(at_s) - 1))
    before = after - 1
    gap_s = at_s[np.minimum(after, len(at_s) - 1)] - at_s[before]
    inside = (times_s >= at_s[0] - MAX_GAP_S) & (times_s <= at_s[-1] + MAX_GAP_S)
    return place, inside & ((gap_s <= MAX_GAP_S) | np.isin(times_s, at_s))
