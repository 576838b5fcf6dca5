"""What stands between the camera and the face does not make the crop jump."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.errors import WeightsError
from expotion.testing import SyntheticClip
from expotion_face_marlin import SPEC, FaceMarlinOptions, faces
from expotion_face_marlin.faces import CascadeDetector, FaceBox, yunet_file
from expotion_face_marlin.tracking import find_path

TIMES_S = np.arange(75) / 25.0
Frame = NDArray[np.uint8]


def hand(frame: Frame, time_s: float) -> Frame:
    """A skin-coloured hand passes before the face, covering its lower half for most of a second."""
    frame = frame.copy()
    x = int(np.interp(time_s, [0.9, 1.2, 1.7, 2.0], [-25, 60, 60, 150]))
    cv2.ellipse(frame, (x, 68), (17, 22), 0, 0, 360, (214, 168, 140), -1)
    return frame


def darkness(frame: Frame, time_s: float) -> Frame:
    """The light goes out for 0.8 s: a tenth of it is left."""
    share = np.interp(time_s, [0.9, 1.0, 1.8, 1.9], [1.0, 0.1, 0.1, 1.0])
    return (frame * share).astype(np.uint8)


def profile(frame: Frame, time_s: float) -> Frame:
    """The head turns away for 0.6 s: the far half of the face is out of sight."""
    if not 1.1 <= time_s < 1.7:
        return frame
    frame = frame.copy()
    frame[:, 64:] = (96, 110, 120)
    return frame


def poster(frame: Frame, time_s: float) -> Frame:
    """Another face appears at the edge for two moments."""
    if not (1.0 <= time_s < 1.1 or 1.6 <= time_s < 1.7):
        return frame
    frame = frame.copy()
    small = cv2.resize(frame[22:84, 36:84], (24, 31), interpolation=cv2.INTER_AREA)
    frame[4:35, 92:116] = small
    return frame


@pytest.fixture(scope="module")
def undisturbed(fakes: SimpleNamespace) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Frames of the face, and the centre and side that its crop has."""
    plain = fakes.face_frames(TIMES_S)
    centre, side, _ = find_path(fakes.video(plain, TIMES_S), CascadeDetector()).at(TIMES_S)
    return plain, centre, side


@pytest.mark.parametrize("trouble", [hand, darkness, profile, poster])
def test_the_crop_does_not_jump(
    fakes: SimpleNamespace,
    undisturbed: tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]],
    trouble: Callable[[Frame, float], Frame],
) -> None:
    plain, wanted, wanted_side = undisturbed
    frames = np.stack([trouble(frame, float(t)) for frame, t in zip(plain, TIMES_S, strict=True)])
    centre, side, valid = find_path(fakes.video(frames, TIMES_S), CascadeDetector()).at(TIMES_S)
    assert valid[(TIMES_S < 0.85) | (TIMES_S > 2.2)].mean() > 0.95
    steps = np.linalg.norm(np.diff(centre, axis=0), axis=1)[valid[1:] & valid[:-1]]
    assert steps.max() < 0.05 * wanted_side.mean()
    assert np.abs(np.diff(side))[valid[1:] & valid[:-1]].max() < 0.05 * wanted_side.mean()
    away = np.linalg.norm(centre - wanted, axis=1)[valid]
    assert away.max() < 0.2 * wanted_side.mean()


class FakeYuNet:
    """Stands in for the network: says where it was looked for."""

    n_levels = 1

    def __init__(self, model_file: Path) -> None:
        self.model_file = model_file

    def find(self, frame: Frame, level: int) -> list[FaceBox]:
        return [FaceBox(0.5, 0.5, 0.4)]

    def find_harder(self, frame: Frame, tilts_deg: Sequence[float] = ()) -> list[FaceBox]:
        return self.find(frame, 0)

    def follow(self, frame: Frame, last: FaceBox, *, lenient: bool = False) -> FaceBox | None:
        return last


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(faces, "YuNetDetector", FakeYuNet)
    path = tmp_path / "face_detection_yunet.onnx"
    path.write_bytes(b"network")
    return path


def test_auto_takes_yunet_where_its_file_is(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "pulled_weights", lambda name: None)
    assert yunet_file("auto", None) is None
    assert yunet_file("auto", model_file) == model_file
    monkeypatch.setattr(faces, "pulled_weights", lambda name: model_file)
    assert yunet_file("auto", None) == model_file
    assert yunet_file("haar", model_file) is None


def test_yunet_by_name_needs_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "pulled_weights", lambda name: None)
    with pytest.raises(WeightsError, match="expotion models pull face_yunet"):
        yunet_file("yunet", None)


def test_the_encoder_uses_it_and_says_so_in_its_hash(model_file: Path) -> None:
    plain = SPEC.build(FaceMarlinOptions(detector="haar"))
    with_yunet = SPEC.build(FaceMarlinOptions(yunet=model_file))
    assert with_yunet.weights_hash != plain.weights_hash
    assert with_yunet.extract(SyntheticClip(1.0)).valid.all()  # the stand-in sees a face in anything
    assert not plain.extract(SyntheticClip(1.0)).valid.any()


def test_the_file_can_be_pulled() -> None:
    announced = {weights.name: weights for weights in SPEC.weights(FaceMarlinOptions(detector="yunet"))}
    assert announced["face_yunet"].licence == "MIT"
    assert announced["face_yunet"].source.startswith("https://")
