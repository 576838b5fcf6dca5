from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.contracts import Video
from expotion.errors import WeightsError
from expotion_face_marlin.crops import crop_squares, useful_shorter_side
from expotion_face_marlin.faces import CascadeDetector, FaceBox, around, make_detector, match
from expotion_face_marlin.path import FacePath, Segment
from expotion_face_marlin.tracking import detection_times_s, find_path

GREY = np.full((100, 100, 3), 90, dtype=np.uint8)


class Scripted:
    """A detector that sees what a function of time says; frames carry their time in a pixel."""

    n_levels = 1

    def __init__(self, faces: Callable[[float], list[FaceBox]]) -> None:
        self.faces = faces
        self.searched: list[float] = []

    def find(self, frame: NDArray[np.uint8], level: int) -> list[FaceBox]:
        time_s = frame[0, 0, 0] / 10.0
        self.searched.append(time_s)
        return sorted(self.faces(time_s), key=lambda box: -box.side)

    def find_harder(self, frame: NDArray[np.uint8], tilts_deg: Sequence[float] = ()) -> list[FaceBox]:
        return self.find(frame, 0)

    def follow(self, frame: NDArray[np.uint8], last: FaceBox, *, lenient: bool = False) -> FaceBox | None:
        near = [box for box in self.faces(frame[0, 0, 0] / 10.0) if abs(box.x - last.x) < 0.2]
        return near[0] if near else None


class Clock:
    """Ten frames per second of grey, each with its number in the first pixel."""

    decodable_until_s = float("inf")
    size = (100, 100)

    def __init__(self, duration_s: float) -> None:
        self.frame_times_s = np.arange(round(10 * duration_s)) / 10.0

    def frames_at(self, times_s: NDArray[np.float64], *, shorter_side: int | None = None) -> NDArray[np.uint8]:
        frames = np.repeat(GREY[None], len(times_s), axis=0)
        frames[:, 0, 0, 0] = np.round(np.asarray(times_s) * 10)
        return frames


def test_a_moving_face_is_found_and_followed(face_video: Video) -> None:
    path = find_path(face_video, CascadeDetector())
    times_s = np.arange(10) * 0.2 + 0.1
    centre, side, valid = path.at(times_s)
    assert valid.all()
    assert len(path.segments) == 1
    np.testing.assert_allclose(centre[:, 0], (60 + 6 * np.sin(times_s)) / 112, atol=0.05)
    assert np.ptp(side) < 0.06


def test_no_face_in_a_busy_picture() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (1, 14, 16, 3), dtype=np.uint8).repeat(9, axis=1).repeat(9, axis=2)
    detector = CascadeDetector()
    assert all(not detector.find(frames[0], level) for level in range(detector.n_levels))
    assert not detector.find_harder(frames[0])


def test_detection_times() -> None:
    np.testing.assert_allclose(detection_times_s(Clock(1.0), 5.0), [0, 0.2, 0.4, 0.6, 0.8])


def test_short_gaps_are_bridged_and_long_ones_are_invalid() -> None:
    box = FaceBox(0.5, 0.5, 0.3)

    def faces(t: float) -> list[FaceBox]:
        return [] if 1.0 < t < 1.8 or 4.0 < t < 7.0 else [box]

    path = find_path(Clock(10.0), Scripted(faces))
    valid = path.at(np.array([0.5, 1.4, 3.0, 5.5, 8.0, 9.9]))[2]
    assert valid.tolist() == [True, True, True, False, True, True]


def test_accidents_are_dropped() -> None:
    def faces(t: float) -> list[FaceBox]:
        return [FaceBox(0.2, 0.2, 0.3)] if t in (2.0, 2.2) else []

    assert find_path(Clock(6.0), Scripted(faces)).segments == ()


def test_rare_sightings_of_one_place_are_dropped() -> None:
    def faces(t: float) -> list[FaceBox]:
        return [FaceBox(0.2, 0.2, 0.3)] if round(t * 10) % 10 == 0 else []

    assert find_path(Clock(9.0), Scripted(faces)).segments == ()


def test_largest_or_most_central_person() -> None:
    large, central = FaceBox(0.2, 0.5, 0.3), FaceBox(0.55, 0.5, 0.2)
    for person, wanted in (("largest", large), ("central", central)):
        path = find_path(Clock(4.0), Scripted(lambda t: [large, central]), person=person)  # type: ignore[arg-type]
        centre, side, valid = path.at(np.array([2.0]))
        assert valid.all()
        assert (centre[0, 0], side[0]) == pytest.approx((wanted.x, wanted.side))


def test_one_wild_box_does_not_make_the_crop_jump() -> None:
    def faces(t: float) -> list[FaceBox]:
        wild = t == 3.0
        return [FaceBox(0.62 if wild else 0.5, 0.5, 0.4 if wild else 0.3)]

    centre, side, valid = find_path(Clock(6.0), Scripted(faces)).at(np.arange(10, 50) / 10.0)
    assert valid.all()
    assert np.abs(centre[:, 0] - 0.5).max() < 0.01
    assert np.abs(side - 0.3).max() < 0.01


def test_a_followed_face_is_searched_for_seldom() -> None:
    detector = Scripted(lambda t: [FaceBox(0.5, 0.5, 0.3)])
    find_path(Clock(10.0), detector)
    assert len(detector.searched) <= 6


def test_match_finds_the_look_again(face_video: Video) -> None:
    first, later = face_video.frames_at(np.array([0.0, 0.4]))
    box = FaceBox(60 / 112, 52 / 112, 48 / 112)
    moved = match(later, around(first, box, 0.5).grey, box, 0.6)
    assert moved is not None
    assert not moved.strict
    assert moved.x == pytest.approx((60 + 6 * np.sin(0.4)) / 112, abs=0.02)
    assert match(GREY, around(first, box, 0.5).grey, box, 0.6) is None


def test_path_at_its_edges() -> None:
    one = Segment(np.array([2.0]), np.array([[0.3, 0.4]]), np.array([0.2]))
    centre, side, valid = FacePath((one,)).at(np.array([1.0, 1.6, 2.4, 3.0]))
    assert valid.tolist() == [False, True, True, False]
    np.testing.assert_allclose(centre[1], [0.3, 0.4])
    assert side[0] == 1.0
    assert not FacePath(()).at(np.array([0.0]))[2].any()


def test_crops_are_placed_to_the_pixel() -> None:
    frame = np.zeros((40, 60, 3), dtype=np.uint8)
    frame[10:20, 30:40] = 200
    crop = crop_squares(frame[None], np.array([[35 / 40, 15 / 40]]), np.array([10 / 40]), (10, 10))[0]
    assert (crop == 200).all()
    half = crop_squares(frame[None], np.array([[35 / 40, 15 / 40]]), np.array([20 / 40]), (20, 20))[0]
    assert (half[5:15, 5:15] == 200).all()
    assert half[:5].max() == 0
    outside = crop_squares(frame[None], np.array([[-1.0, -1.0]]), np.array([0.2]), (8, 8))
    assert outside.max() == 0


def test_frames_are_not_fetched_finer_than_needed() -> None:
    assert useful_shorter_side(0.25, 48, 1080) == 240
    assert useful_shorter_side(0.25, 48, 240) is None


def test_yunet_file_problems_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        make_detector(tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match=r"bad\.onnx: a YuNet model file"):
        make_detector(tmp_path / "bad.onnx")
