"""The simulated accelerometer: physics, repeatability, and files that appear when asked for."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import make_plan
from expotion_conductor.sensors import (
    GRAVITY_M_PER_S2,
    RANGE_M_PER_S2,
    RATE_HZ,
    TRACK,
    SensorFiles,
    wrist_acceleration,
)
from expotion_conductor.source import SPEC

PLAN = make_plan(5_000_001, 4.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    return tmp_path


def test_the_wrist_is_struck_at_every_beat() -> None:
    times_s, acceleration = wrist_acceleration(PLAN)
    jolt = np.abs(acceleration[:, 1] - GRAVITY_M_PER_S2)
    inside = [beat for beat in PLAN.beats_s if 0.05 < beat < 3.95]
    peaks = [jolt[np.abs(times_s - beat_s) < 0.02].max() for beat_s in inside]
    between = np.min(np.abs(times_s[:, None] - PLAN.beats_s), axis=1) > 0.1
    assert min(peaks) > 3 * np.quantile(jolt[between], 0.95)


def test_gravity_points_down_and_the_range_holds() -> None:
    _, acceleration = wrist_acceleration(PLAN)
    assert np.abs(acceleration).max() <= RANGE_M_PER_S2
    assert np.median(acceleration[:, 1]) == pytest.approx(GRAVITY_M_PER_S2, abs=6.0)
    assert abs(np.median(acceleration[:, 0])) < 6.0
    assert np.array_equal(acceleration, wrist_acceleration(PLAN)[1])


def test_the_file_is_written_once_and_holds_the_recording(cache: Path) -> None:
    path = SensorFiles(PLAN)[TRACK]
    first = path.stat().st_mtime_ns
    assert SensorFiles(PLAN)[TRACK] == path
    assert path.stat().st_mtime_ns == first
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    times_s, acceleration = wrist_acceleration(PLAN)
    assert len(rows) == len(times_s) == int(4 * RATE_HZ) + 1
    assert float(rows[7]["y_m_per_s2"]) == pytest.approx(acceleration[7, 1], abs=1e-3)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_clips_have_sensors_where_they_are_asked_for(cache: Path) -> None:
    with_them = SPEC.build(SPEC.options(sensors=True, clip_s=1.0, train_clips=1)).clips("train")[0]
    without = SPEC.build(SPEC.options(clip_s=1.0, train_clips=1)).clips("train")[0]
    assert list(with_them.tracks) == [TRACK]
    assert dict(without.tracks) == {}
    assert with_them.content_hash == without.content_hash
    assert not cache.joinpath("conductor").exists()  # nothing is written until it is asked for
    again = pickle.loads(pickle.dumps(with_them.tracks))
    assert again[TRACK].is_file()
    with pytest.raises(KeyError):
        with_them.tracks["other"]


def test_a_clip_can_be_made_directly() -> None:
    assert list(ConductorClip(PLAN, sensors=True).tracks) == [TRACK]
