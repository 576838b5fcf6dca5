"""Regions, anchors and who is followed: exact, without any network."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import pytest

from expotion_person_landmarks import follow
from expotion_person_landmarks.detection import FACES, PEOPLE, anchors, merged, overlap
from expotion_person_landmarks.follow import choose, thinned, track
from expotion_person_landmarks.landmarks import Landmarks
from expotion_person_landmarks.pose import Circle, refined
from expotion_person_landmarks.regions import Region, around_circle, around_points, whole


def test_anchors_are_those_of_the_models():
    assert anchors(PEOPLE.grids).shape == (2254, 2) and anchors(FACES.grids).shape == (896, 2)
    first = anchors(FACES.grids)
    assert first[:2] == pytest.approx(np.full((2, 2), 1 / 32))
    assert first[2] == pytest.approx([3 / 32, 1 / 32])  # row by row
    assert first[512:518] == pytest.approx(np.full((6, 2), 1 / 16))


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, math.pi])
def test_what_a_network_sees_lies_where_it_says(angle):
    frame = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(frame, (180, 90), 6, (255, 255, 255), -1)
    region = Region(170.0, 100.0, 90.0, angle)
    seen = region.cut(frame, 64)[0, :, :, 0]
    rows, columns = np.nonzero(seen > 0.5)
    back = region.to_picture(np.array([[columns.mean(), rows.mean()]]), 64)
    assert back[0] == pytest.approx([180, 90], abs=0.8)


def test_a_wide_picture_is_letterboxed_in_black():
    frame = np.full((100, 200, 3), 255, np.uint8)
    seen = whole(frame.shape[:2]).cut(frame, 64, low=-1.0, padded=True)[0, :, :, 0]
    assert seen[:14].max() == -1.0 and seen[50:].max() == -1.0
    assert seen[20:44].min() == 1.0
    assert Region(0, 50, 40).cut(frame, 16)[0].min() == 1.0  # beyond the edge the edge goes on


def test_a_body_is_turned_upright_and_a_face_level():
    lying = around_circle(np.array([100.0, 100.0]), np.array([140.0, 100.0]), 1.25)
    assert (lying.x, lying.y, lying.side) == (100, 100, 100) and lying.angle == pytest.approx(math.pi / 2)
    corners = np.array([[10.0, 10.0], [50.0, 30.0]])
    face = around_points(corners, corners[0], corners[1], 1.5)
    assert (face.x, face.y, face.side) == (30, 20, 60) and face.angle == pytest.approx(math.atan2(20, 40))


def test_overlapping_boxes_are_one_person():
    places = np.array(
        [[[0, 0], [10, 10], [5, 5]], [[1, 0], [11, 10], [7, 5]], [[50, 50], [60, 60], [55, 55]]], float
    )
    found = merged(np.array([0.6, 0.9, 0.7]), places)
    assert [score for score, _ in found] == [0.9, 0.7]
    assert found[0][1][2, 0] == pytest.approx((0.6 * 5 + 0.9 * 7) / 1.5)
    assert overlap(places[0, :2], places[:, :2]) == pytest.approx([1.0, 90 / 110, 0.0])


def test_heat_moves_a_landmark_only_where_it_is_sure():
    heat = np.full((64, 64, 39), -20.0, np.float32)
    heat[30, 21, 0] = 20.0
    heat[30, 21, 1] = -0.5
    places = np.array([[80.0, 120.0], [80.0, 120.0]])
    assert refined(places, heat) == pytest.approx(np.array([[84.0, 120.0], [80.0, 120.0]]), abs=1e-3)
    heat[30, 21, 0], heat[40, 40, 0] = -20.0, 20.0  # too far away
    assert refined(places, heat)[0] == pytest.approx([80.0, 120.0])
    assert refined(np.array([[-5.0, 400.0]]), heat) == pytest.approx(np.array([[-5.0, 400.0]]))


def test_the_region_is_calm_at_rest_and_quick_when_the_body_moves():
    rng = np.random.default_rng(0)
    still, moving = Circle(), Circle()
    base = np.array([[100.0, 200.0], [100.0, 100.0]])
    calm = np.array([still(base + rng.normal(0, 0.5, (2, 2)), i / 30) for i in range(60)])
    assert np.abs(np.diff(calm[30:], axis=0)).max() < 0.15
    moved = [moving(base + np.array([8.0 * i, 0.0]), i / 30)[0, 0] - 100.0 for i in range(30)]
    assert 8.0 * 29 - moved[-1] < 20.0


def test_the_largest_or_by_place():
    people = [Region(200, 0, 50), Region(50, 0, 80), Region(120, 0, 40)]
    assert choose(people, "largest") is people[1]
    assert choose(people, "left") is people[1] and choose(people, "right") is people[0]
    assert [choose(people, number) for number in (1, 2, 3, 4)] == [people[1], people[2], people[0], None]
    assert choose([], "largest") is None


class Scripted:
    """Finds whom a list says in each frame, and loses the person where `lost` says."""

    def __init__(self, people: list[list[Region]], lost: set[int]) -> None:
        self.people, self.lost, self.looked = people, lost, []

    def find(self, frame):
        self.looked.append(int(frame[0, 0, 0]))
        return self.people[int(frame[0, 0, 0])]

    def follow(self, frame, region, time_s):
        if int(frame[0, 0, 0]) in self.lost:
            return None
        return np.column_stack([np.full((33, 2), region.x), np.full(33, 0.9)]), region


def frames(n: int) -> Iterator[np.ndarray]:
    return (np.full((100, 160, 3), number, np.uint8) for number in range(n))


def test_a_person_who_leaves_is_looked_for_again_and_not_made_up():
    one, other = Region(20, 0, 30), Region(25, 0, 30)
    tracker = Scripted([[one]] * 3 + [[]] * 3 + [[other]] * 4, lost={3, 4, 5})
    found = track(tracker, frames(10), np.arange(10) / 25, (200, 320), "largest", 33)
    assert found.present.tolist() == [True] * 3 + [False] * 3 + [True] * 4
    assert tracker.looked == [0, 3, 4, 5, 6]
    assert found.points[0, 0, 0] == 40 and found.points[9, 0, 0] == 50  # in the picture's own pixels
    assert found.n_people.tolist() == [1, -1, -1, 0, 0, 0, 1, -1, -1, -1]
    assert not found.points[3:6].any()


def test_for_a_second_nobody_else_is_taken_for_who_was_lost():
    one, other = Region(20, 0, 30), Region(90, 0, 80)
    tracker = Scripted([[one, other]] * 2 + [[other]] * 30, lost={2})
    found = track(tracker, frames(32), np.arange(32) / 25, (100, 160), "left", 33)
    assert found.present.tolist() == [True] * 2 + [False] * 24 + [True] * 6  # 1/25 s + 1 s
    assert found.points[-1, 0, 0] == 90
    tracker = Scripted([[other]] * 3 + [[one, other]] * 3, set())
    late = track(tracker, frames(6), np.arange(6) / 25, (100, 160), "left", 33, one)
    assert late.present.tolist() == [False] * 3 + [True] * 3 and late.points[-1, 0, 0] == 20


def test_a_region_that_vanishes_or_is_no_number_is_lost():
    for side in (0.5, float("nan")):
        tracker = Scripted([[Region(20, 0, side)]] * 3, set())
        found = track(tracker, frames(3), np.arange(3) / 25, (100, 160), "largest", 33)
        assert tracker.looked == [0, 1, 2] and found.present.all()


def test_what_was_found_stays_in_memory_within_bounds(monkeypatch):
    class Seen:
        video = None

        def __init__(self, name):
            self.content_hash = self.id = name

    def looked(video, part, who):
        calls.append(part)
        return Landmarks(np.arange(10) / 25, np.ones((10, 33, 3), np.float32), (9, 9), np.ones(10, np.int64))

    calls: list[str] = []
    monkeypatch.setattr(follow, "_look", looked)
    monkeypatch.setattr(follow, "KEPT_BYTES", 3 * 10 * 33 * 3 * 4)
    monkeypatch.setattr(follow, "_KEPT", OrderedDict())
    for name in ("a", "b", "a", "c", "a", "d", "b", "a"):
        follow.landmarks_of(Seen(name), "pose")
    assert len(calls) == 5 and [key[0] for key in follow._KEPT] == ["d", "b", "a"]
    follow.landmarks_of(Seen("a"), "pose", "left")
    assert len(calls) == 6


def test_frames_are_thinned_to_thirty_a_second_and_never_made_up():
    fast, slow = np.arange(120) / 60, np.arange(30) / 15
    kept = thinned(fast)
    assert len(kept) == 60 and set(kept) <= set(fast)
    assert thinned(slow) == pytest.approx(slow)
    assert min(later - earlier for earlier, later in pairwise(thinned(np.arange(100) / 100))) >= 0.03 - 1e-9
