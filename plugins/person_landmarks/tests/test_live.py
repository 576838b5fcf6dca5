"""Frames that come: the same beat as the causal variant tells of the whole, by a tracker that is given."""

from __future__ import annotations

import numpy as np
import pytest

from expotion_person_landmarks import live
from expotion_person_landmarks.beat import causal_movement_beat
from expotion_person_landmarks.events import movement
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, N_POSE, RIGHT_SHOULDER
from expotion_person_landmarks.live import LiveBeat, LivePerson, Watched
from expotion_person_landmarks.pose_features import pose_features

PERIOD_S, FPS, SECONDS = 0.5, 30, 8.0


def _points(time_s: float) -> np.ndarray:
    points = np.zeros((N_POSE, 3), np.float32)
    points[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST], 2] = 1.0
    points[LEFT_SHOULDER, :2], points[RIGHT_SHOULDER, :2] = (100, 50), (60, 50)
    points[LEFT_WRIST, :2] = 120, 80 + 20 * abs(np.cos(np.pi * time_s / PERIOD_S))
    return points


class _Pursuit:
    def __init__(self, *_: object) -> None:
        self.n = 0

    def __call__(self, frame: np.ndarray, time_s: float) -> tuple[np.ndarray | None, int]:
        self.n += 1
        return _points(time_s), -1


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(live, "Pursuit", _Pursuit)
    monkeypatch.setattr(live, "tracker_of", lambda part: None)
    return {}


def test_a_live_beat_is_the_causal_variants(shared: dict[str, object]) -> None:
    watched = Watched.of(shared, "pose", "largest")
    beat = LiveBeat(watched, certain=True)
    frame = np.zeros((160, 200, 3), np.uint8)
    times_s = np.arange(0, SECONDS, 1 / FPS)
    for time_s in times_s:
        beat.push(frame, float(time_s))
    assert beat.until_s == times_s[-1]
    whole = causal_movement_beat(movement(np.stack([_points(t) for t in times_s]), times_s, float(times_s[-1])))
    assert whole.certainty[-1] > 0.5
    said = beat.says()
    assert said["tempo_bpm"] == pytest.approx(whole.tempo_bpm[-1], rel=0.02) == pytest.approx(120.0, rel=0.03)
    last_s = np.array([(len(whole.phase) - 1) / 100])
    rows = beat.at(last_s, 0.0)
    assert rows.valid.all() and rows.values.shape == (1, 5)
    angle = 2 * np.pi * whole.phase[-1]
    np.testing.assert_allclose(rows.values[0, 1:3], [np.sin(angle), np.cos(angle)], atol=0.15)
    # What is foreseen for later turns on at the tempo: half a period is the other side.
    half = beat.at(last_s, 30.0 / said["tempo_bpm"])
    np.testing.assert_allclose(half.values[0, 1:3], -rows.values[0, 1:3], atol=0.05)


def test_encoders_of_one_session_look_at_a_frame_once(shared: dict[str, object]) -> None:
    pose = LivePerson(Watched.of(shared, "pose", "largest"), pose_features, lambda _: {})
    beat = LiveBeat(Watched.of(shared, "pose", "largest"), certain=False)
    frame = np.zeros((160, 200, 3), np.uint8)
    for number in range(20):
        for each in (pose, beat):
            each.push(frame, number / FPS)
    assert pose._watched is beat._watched and pose._watched._pursuit.n == 20  # type: ignore[attr-defined]
    assert pose.until_s == pytest.approx(19 / FPS - live.LAG_S)
    rows = pose.at(np.array([pose.until_s]), 0.0)
    assert rows.valid.all() and rows.values.shape == (1, 42)
    assert beat.says() == {} and not beat.at(np.array([0.5]), 0.0).values[:, 4].any()
