"""The world's picture: one motion at any frame rate, an ictus on every beat, a face that can be found."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import cv2
import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion_conductor import gesture
from expotion_conductor.figure import FACE_LAG_S, JOINTS, Figure
from expotion_conductor.plan import DEVELOPMENT_SEEDS, make_plan
from expotion_conductor.scene import Scene


@pytest.fixture(scope="module")
def figure() -> Figure:
    return Figure(make_plan(DEVELOPMENT_SEEDS, 10.0))


def test_same_seed_draws_the_same_frames() -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + 1, 4.0)
    times_s = np.array([0.0, 1.234, 3.9])
    first, second = Scene(plan).draw(times_s), Scene(plan).draw(times_s)
    assert first.dtype == np.uint8 and first.shape == (3, 192, 192, 3)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[0].astype(int) - first[1]).mean() > 1.0, "the conductor moves"


def test_a_frame_depends_on_its_time_alone() -> None:
    scene = Scene(make_plan(DEVELOPMENT_SEEDS + 2, 4.0), 96)
    many = np.arange(0.0, 4.0, 1 / 24)
    alone = np.concatenate([scene.draw(many[index : index + 1]) for index in (3, 40, 90)])
    np.testing.assert_array_equal(scene.draw(many)[[3, 40, 90]], alone)


@pytest.mark.parametrize("rate_hz", [12.0, 24.0, 25.0, 30000 / 1001, 60.0])
def test_joints_do_not_depend_on_the_frame_rate(figure: Figure, rate_hz: float) -> None:
    fine_s = np.arange(0.0, 10.0, 0.002)
    times_s = np.arange(0.0, 9.9, 1 / rate_hz)
    fine, coarse = figure.joints(fine_s), figure.joints(times_s)
    assert set(coarse) == set(JOINTS)
    for name in JOINTS:
        assert coarse[name].shape == (len(times_s), 2) and coarse[name].dtype == np.float64
        for axis in range(2):
            expected = np.interp(times_s, fine_s, fine[name][:, axis])
            np.testing.assert_allclose(coarse[name][:, axis], expected, atol=0.35)


def test_arms_keep_their_length_in_space() -> None:
    shoulder = np.zeros((3, 3))
    wrist = np.array([[0.1, 0.2, 0.1], [0.5, 0.5, 0.5], [0.0, 0.3, 0.05]])
    elbow, reached = gesture.two_bone(shoulder, wrist, np.array([0.3, 0.9, -0.1]), 0.2, 0.22)
    np.testing.assert_allclose(np.linalg.norm(elbow - shoulder, axis=1), 0.2, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(reached - elbow, axis=1), 0.22, atol=1e-9)
    np.testing.assert_allclose(reached[[0, 2]], wrist[[0, 2]])
    assert np.linalg.norm(reached[1]) < 0.42, "out of reach: pulled in along the line from the shoulder"


@pytest.mark.parametrize("offset", range(8))
def test_the_hand_turns_upwards_at_every_beat(offset: int) -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + offset, 10.0)
    figure = Figure(plan)
    times_s = np.arange(-0.1, 10.1, 0.002)
    height = -figure.joints(times_s)[figure.baton_wrist][:, 1]
    velocity = np.diff(height) / 0.002
    middles_s = (times_s[:-1] + times_s[1:]) / 2
    turns_s = middles_s[1:][(velocity[:-1] < 0) & (velocity[1:] >= 0)]
    bounce = np.array(
        [
            velocity[np.searchsorted(middles_s, t) + 8] - velocity[np.searchsorted(middles_s, t) - 8]
            for t in plan.beats_s
        ]
    )
    for beat_s in plan.beats_s:
        assert np.abs(turns_s - beat_s).min() < 0.02
    assert len(turns_s) <= len(plan.beats_s) + 2, "no turning points between the beats"
    assert bounce.min() > 40.0, "a clear rebound, in pixels per second"


def test_the_downbeat_falls_from_highest() -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + 3, 10.0)
    level = dataclasses.replace(plan, intensity=np.full_like(plan.intensity, 0.5))
    figure = Figure(level)
    period_s = 60.0 / plan.tempo_bpm
    peak = {True: [], False: []}
    for beat_s, place in zip(plan.beats_s[1:], plan.beat_in_bar[1:], strict=True):
        before = figure.joints(np.linspace(beat_s - period_s, beat_s, 40))[figure.baton_wrist][:, 1]
        peak[bool(place == 0)].append(float(before.min()))
    assert max(peak[True]) < min(peak[False]) - 3.0


def test_gestures_grow_and_the_face_follows_within_50_ms() -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + 4, 10.0)
    step = (plan.intensity_times_s >= 5.0).astype(np.float64)
    figure = Figure(dataclasses.replace(plan, intensity=step))
    times_s = np.arange(0.0, 10.0, 0.005)
    felt = figure.felt_intensity(times_s)
    half_s = times_s[np.searchsorted(felt, 0.5)]
    assert 0.0 <= half_s - 5.0 <= 0.05 and FACE_LAG_S <= 0.05
    assert felt[times_s < 4.9].max() == pytest.approx(0.0, abs=1e-9)
    assert felt[times_s > 5.2].min() == pytest.approx(1.0, abs=1e-9)
    height = figure.joints(times_s)[figure.baton_wrist][:, 1]
    soft, loud = np.ptp(height[times_s < 4.9]), np.ptp(height[times_s > 5.2])
    assert 1.2 < loud / soft < 2.2


def test_the_face_changes_with_the_intensity() -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + 6, 4.0)
    figure = Figure(plan)
    x, y, width, height = np.rint(figure.face_boxes(np.array([2.0]))[0]).astype(int)
    faces = []
    for level in (0.0, 0.5, 1.0):
        steady = dataclasses.replace(plan, intensity=np.full_like(plan.intensity, level))
        faces.append(Scene(steady).draw(np.array([2.0]))[0, y : y + height, x : x + width].astype(float))
    assert np.abs(faces[1] - faces[0]).mean() > 2.0
    assert np.abs(faces[2] - faces[1]).mean() > 2.0
    assert np.abs(faces[2] - faces[0]).mean() > np.abs(faces[1] - faces[0]).mean()


def test_the_haar_cascade_finds_the_face_where_it_is() -> None:
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    found = 0
    for offset in range(4):
        scene = Scene(make_plan(DEVELOPMENT_SEEDS + 20 + offset, 10.0))
        times_s = np.array([0.7, 5.1, 9.3])
        truth = scene.figure.face_boxes(times_s)
        assert truth[:, 2].min() >= 40.0
        for frame, (x, y, side, _) in zip(scene.draw(times_s), truth, strict=True):
            boxes = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 1.1, 3, minSize=(40, 40))
            for bx, by, bside, _ in boxes:
                near = np.hypot(bx + bside / 2 - x - side / 2, by + bside / 2 - y - side / 2) < 0.2 * side
                found += bool(near and 0.6 < bside / side < 1.5)
    assert found >= 11


@pytest.mark.parametrize("offset", range(0, 24, 2))
def test_every_seed_can_be_drawn(offset: int) -> None:
    plan = make_plan(DEVELOPMENT_SEEDS + 100 + offset, 3.0)
    frames = Scene(plan, 96).draw(np.array([0.0, 2.99]))
    assert frames.std() > 15.0


def test_a_plan_shorter_than_a_beat_has_no_ictus_inside() -> None:
    plan = make_plan(DEVELOPMENT_SEEDS, 10.0)
    empty = dataclasses.replace(plan, beats_s=plan.beats_s[:0], beat_in_bar=plan.beat_in_bar[:0], duration_s=0.2)
    wrist = Figure(empty).joints(np.linspace(0.0, 0.2, 5))["right_wrist"]
    assert np.isfinite(wrist).all()


def test_an_unknown_metre_is_refused() -> None:
    with pytest.raises(ExpotionError, match="beats per bar"):
        gesture.hand_path(np.array([0.5]), np.array([0.0, 1.0]), np.array([0, 1]), 5)


@pytest.mark.parametrize("beats_per_bar", [2, 3, 4, 6])
def test_the_hand_beats_any_list_of_beats_in_two_three_four_and_six(beats_per_bar: int) -> None:
    beats_s = np.array([0.31, 0.95, 1.42, 1.99, 2.41, 3.05, 3.66, 4.07, 4.74])
    places = (np.arange(len(beats_s)) + 1) % beats_per_bar
    plan = make_plan(DEVELOPMENT_SEEDS + 5, 5.0)
    plan = dataclasses.replace(
        plan,
        beats_s=beats_s,
        beat_in_bar=places,
        beats_per_bar=beats_per_bar,
        tempo_bpm=60.0 / 0.64,
        late_period_s=0.67,
        intensity=np.full_like(plan.intensity, 0.5),
    )
    figure = Figure(plan)
    times_s = np.arange(0.0, 5.0, 0.002)
    height = -figure.joints(times_s)[figure.baton_wrist][:, 1]
    velocity = np.diff(height)
    turns_s = times_s[1:-1][(velocity[:-1] < 0) & (velocity[1:] >= 0)]
    assert all(np.abs(turns_s - beat_s).min() < 0.02 for beat_s in beats_s)
    assert len(turns_s) <= len(beats_s) + 1
    peaks = [height[(times_s > a) & (times_s < b)].max() for a, b in pairwise(beats_s)]
    down = [peak for peak, place in zip(peaks, places[1:], strict=True) if place == 0]
    assert min(down) > max(peak for peak, place in zip(peaks, places[1:], strict=True) if place != 0)
