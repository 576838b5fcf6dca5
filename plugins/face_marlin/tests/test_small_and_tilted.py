"""Small faces and tilted heads in a large frame: found by a closer look, where the ordinary one found nothing."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from expotion_face_marlin.faces import HARDER_TILTS_DEG, CascadeDetector
from expotion_face_marlin.tracking import find_path

SIZE = (1080, 1920)
GREY = (96, 110, 120)
TIMES_S = np.arange(2) / 5.0


def head(fakes: SimpleNamespace, side_px: int, tilt_deg: float) -> NDArray[np.uint8]:
    """A drawn face on grey whose head, 1.24 times as high, is turned clockwise."""
    whole = 2 * side_px
    upright = fakes.draw_face((whole, whole), (side_px, side_px), side_px)
    turn = cv2.getRotationMatrix2D((side_px, side_px), -tilt_deg, 1.0)
    return cv2.warpAffine(upright, turn, (whole, whole), flags=cv2.INTER_LINEAR, borderValue=GREY)


def swaying(fakes: SimpleNamespace, side_px: int, tilt_deg: float):
    """A head that goes 40 pixels to and fro; and where its middle is, in pixels [n, 2]."""
    picture = head(fakes, side_px, tilt_deg)
    frames = np.full((len(TIMES_S), *SIZE, 3), GREY, dtype=np.uint8)
    middles = np.stack([SIZE[1] * 0.6 + 20 * np.sin(2 * TIMES_S), np.full(len(TIMES_S), SIZE[0] * 0.4)], axis=1)
    for frame, (x, y) in zip(frames, middles.round().astype(int), strict=True):
        frame[y - side_px : y + side_px, x - side_px : x + side_px] = picture
    return fakes.video(frames, TIMES_S), middles


@pytest.mark.parametrize(("side_px", "tilt_deg"), [(48, 0.0), (200, -40.0), (48, 45.0)])
def test_it_is_found_and_followed(fakes: SimpleNamespace, side_px: int, tilt_deg: float) -> None:
    video, middles = swaying(fakes, side_px, tilt_deg)
    centre, side, valid = find_path(video, CascadeDetector()).at(TIMES_S)
    assert valid.all()
    away = np.linalg.norm(centre * SIZE[0] - middles, axis=1)
    assert away.max() < 0.3 * side_px
    assert np.all((side * SIZE[0] > 0.8 * side_px) & (side * SIZE[0] < 1.5 * side_px))


class Counted(CascadeDetector):
    """Counts the slow searches."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = 0

    def find_harder(self, frame, tilts_deg=HARDER_TILTS_DEG):
        self.searches += 1
        return super().find_harder(frame, tilts_deg)


def test_a_closer_look_is_only_taken_where_no_face_was_found(fakes: SimpleNamespace) -> None:
    detector = Counted()
    times_s = np.arange(60) / 5.0
    there = fakes.face_frames(times_s)
    find_path(fakes.video(there, times_s), detector)
    assert detector.searches == 0
    there[25:] = (
        GREY  # from 5 s on; the path ends half a second later, and every three seconds one frame is searched
    )
    valid = find_path(fakes.video(there, times_s), detector).at(times_s)[2]
    assert valid[:25].all() and not valid[30:].any()
    assert detector.searches == 4
