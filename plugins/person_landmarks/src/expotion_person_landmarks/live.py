"""The same features while frames come: each frame is looked at once, for every encoder of a session together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion.beats import FRAME_RATE_HZ, LEAST_CERTAINTY, Followed, Follower
from expotion.contracts import SmoothedTrack
from expotion_person_landmarks.beat import DELAY_S, beat_features, beat_rows, live_certainty
from expotion_person_landmarks.events import made_of, movement
from expotion_person_landmarks.follow import MOST_HZ, SHORTER_SIDE, Part, Pursuit, Who, tracker_of
from expotion_person_landmarks.landmarks import N_FACE, N_POSE, Landmarks

Features = Callable[[Landmarks, NDArray[np.float64]], tuple[NDArray[np.float32], NDArray[np.bool_]]]
Tells = Callable[[Landmarks], Mapping[str, float]]

KEPT_S = 5.0
"""Landmarks that stay: medians over a clip are those over so much."""
LAG_S = 0.1
"""Speed and acceleration of a moment are known when two frames or more behind it are there."""
_NO_BEAT = (0.0, 0.0, 0.0)


class Watched:
    """The last seconds of one person's landmarks. A frame that was pushed is not looked at again."""

    def __init__(self, part: Part, who: Who) -> None:
        self._pursuit = Pursuit(tracker_of(part), who)
        self._kept: deque[tuple[float, NDArray[np.float32]]] = deque()
        self._n_points = N_POSE if part == "pose" else N_FACE
        self.last_s, self._looked_s = -1.0, -1.0
        self._size = (0, 0)

    @classmethod
    def of(cls, shared: dict[str, Any], part: Part, who: Who) -> Watched:
        """A session's, made when it is asked for first."""
        found: Watched = shared.setdefault(f"person_landmarks {part} {who}", None) or cls(part, who)
        shared[f"person_landmarks {part} {who}"] = found
        return found

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """The next frame; at most about MOST_HZ a second are looked at."""
        if time_s <= self.last_s:
            return
        self.last_s = time_s
        if time_s - self._looked_s < 0.9 / MOST_HZ:
            return
        self._looked_s, self._size = time_s, (frame.shape[0], frame.shape[1])
        side = min(self._size)
        if side > 1.25 * SHORTER_SIDE:
            scale = SHORTER_SIDE / side
            frame = np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        found, _ = self._pursuit(frame, time_s)
        points = np.zeros((self._n_points, 3), np.float32)
        if found is not None:
            points[:] = found
            points[:, :2] *= self._size[0] / frame.shape[0]
        self._kept.append((time_s, points))
        while self._kept[0][0] < time_s - KEPT_S:
            self._kept.popleft()

    def landmarks(self) -> Landmarks:
        """What is kept."""
        times_s = np.array([time_s for time_s, _ in self._kept])
        points = np.stack([points for _, points in self._kept])
        return Landmarks(times_s, points, self._size, np.full(len(times_s), -1, np.int64))


class LivePerson:
    """Rows of `person_pose` or `person_face`, LAG_S behind the frames."""

    def __init__(self, watched: Watched, features: Features, tells: Tells) -> None:
        """`tells`: what landmarks say for others, the last of them being now."""
        self._watched, self._features, self._tells = watched, features, tells

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """Look at it."""
        self._watched.push(frame, time_s)

    @property
    def until_s(self) -> float:
        """LAG_S before the last frame."""
        return max(0.0, self._watched.last_s - LAG_S)

    def at(self, times_s: NDArray[np.float64], ahead_s: float) -> SmoothedTrack:
        """Features of the landmarks that are kept."""
        del ahead_s
        return SmoothedTrack(*self._features(self._watched.landmarks(), times_s))

    def says(self) -> Mapping[str, float]:
        """What its landmarks say."""
        return self._tells(self._watched.landmarks()) if self._watched.last_s >= 0.0 else {}


class LiveBeat:
    """Rows of `movement_beat`: the phase is foreseen from what is known DELAY_S before the last frame."""

    def __init__(self, watched: Watched, *, certain: bool) -> None:
        """`certain`: a beat that is said is given as a certain one (`true_beats`)."""
        self._watched, self._certain = watched, certain
        self._follower = Follower()
        self._told = _NO_BEAT
        self._braking, self._known = 0.0, False
        self._next = 0

    def push(self, frame: NDArray[np.uint8], time_s: float) -> None:
        """Look at it, and follow its beat as far as braking is known."""
        self._watched.push(frame, time_s)
        stop = int((self._watched.last_s - DELAY_S) * FRAME_RATE_HZ) + 1
        if stop <= self._next:
            return
        found = self._watched.landmarks()
        start_s = self._next / FRAME_RATE_HZ - 2 * DELAY_S
        moves = movement(found.points, found.times_s - start_s, self._watched.last_s - start_s)
        for number in range(self._next, stop):
            row = round((number / FRAME_RATE_HZ - start_s) * FRAME_RATE_HZ)
            self._braking, self._known = float(moves.braking[row]), bool(moves.known[row])
            self._told = self._follower.push(self._braking)
        self._next = stop

    @property
    def until_s(self) -> float:
        """The last frame."""
        return self._watched.last_s

    def at(self, times_s: NDArray[np.float64], ahead_s: float) -> SmoothedTrack:
        """The beat at `times_s` + `ahead_s`, foreseen."""
        found, at_s = self._foreseen(times_s + ahead_s)
        certain = found.certainty >= LEAST_CERTAINTY
        if self._certain:
            return SmoothedTrack(np.where(certain[:, None], beat_rows(found, at_s), np.float32(0.0)), certain)
        values, _ = beat_features(self._moves(len(times_s)), at_s, causal=False, found=found)
        valid = np.full(len(times_s), self._known)
        return SmoothedTrack(np.where(valid[:, None], values, np.float32(0.0)), valid)

    def says(self) -> Mapping[str, float]:
        """Tempo and the next beat's time, where a beat is certain."""
        phase, tempo_bpm, certainty = self._told
        if not tempo_bpm or live_certainty(np.array([certainty]))[0] < LEAST_CERTAINTY:
            return {}
        told_s, period_s = (self._next - 1) / FRAME_RATE_HZ, 60.0 / tempo_bpm
        passed = (phase + (self._watched.last_s - told_s) / period_s) % 1.0
        return {"tempo_bpm": tempo_bpm, "next_beat_s": self._watched.last_s + (1.0 - passed) * period_s}

    def _foreseen(self, times_s: NDArray[np.float64]) -> tuple[Followed, NDArray[np.float64]]:
        """The beat at some times, a row for each, and the times at which those rows are read."""
        phase, tempo_bpm, certainty = self._told
        n = len(times_s)
        phases = (phase + (times_s - (self._next - 1) / FRAME_RATE_HZ) * tempo_bpm / 60.0) % 1.0
        sure = live_certainty(np.full(n, certainty))
        followed = Followed(np.zeros(0), phases if tempo_bpm else np.zeros(n), np.full(n, tempo_bpm), sure, 0.0)
        return followed, np.asarray((np.arange(n) + 0.5) / FRAME_RATE_HZ, np.float64)

    def _moves(self, n: int) -> Any:
        return made_of(np.full(n, self._braking), np.zeros(n), np.full(n, self._known))
