"""Faces in single frames: OpenCV's Haar cascades offline, YuNet where its model file is given.

Boxes are squares given by centre and side, in units of the frame's shorter side: they hold at any scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from expotion.contracts import pulled_weights
from expotion.errors import Problem, WeightsError

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]

SEARCH_SIDES_PX = (96, 160, 240)
"""Shorter sides at which a whole frame is searched, coarse first: a large face is found at once."""
FOLLOW_FACE_PX = 40
"""Size to which the known face is scaled where it is only followed."""
FOLLOW_REACH = 0.9
"""Half side of the surroundings in which a face is followed, over the face's side."""

MIN_SIDE = 0.1
"""Smallest face of an ordinary search, as a fraction of the frame's shorter side."""

HARDER_SIDE_PX = 640
"""Shorter side at which small faces are looked for: a face of 48 pixels in a frame of 1080 has 28 of them."""
HARDER_FACE_PX = 22
HARDER_TILTS_DEG = (0.0, 22.0, -22.0, 45.0, -45.0)
"""Tilts at which a frame is searched, clockwise as it is seen; the cascades take a dozen degrees more."""


@dataclass(frozen=True)
class FaceBox:
    """A square around a face: centre (x, y) and side over the frame's shorter side.

    `strict` tells a detection by the main detector from one by a more lenient fallback. A face whose head is tilted
    was found in a copy of the picture that was turned back by `tilt_deg`, clockwise; the square itself is upright.
    """

    x: float
    y: float
    side: float
    strict: bool = True
    tilt_deg: float = 0.0


@dataclass(frozen=True)
class Patch:
    """A grey piece of a frame: its left and top and the size of its pixels, over the shorter side."""

    grey: Image
    left: float
    top: float
    step: float


class Detector(Protocol):
    """Finds faces in RGB frames uint8 [H, W, 3]."""

    @property
    def n_levels(self) -> int:
        """Levels of `find`, from coarse to fine."""
        ...

    def find(self, frame: Image, level: int) -> list[FaceBox]:
        """All faces of a frame, largest first; a higher level takes longer and sees smaller faces."""
        ...

    def find_harder(self, frame: Image, tilts_deg: Sequence[float] = HARDER_TILTS_DEG) -> list[FaceBox]:
        """Small faces too, and tilted ones, largest first; for frames of HARDER_SIDE_PX, many times slower."""
        ...

    def follow(self, frame: Image, last: FaceBox, *, lenient: bool = False) -> FaceBox | None:
        """The face that was at `last` a moment ago, or None; `lenient` tries what is slower and less sure."""
        ...


class CascadeDetector:
    """Haar cascades: a frontal one everywhere; around a known face also a second frontal one and profiles."""

    def __init__(self) -> None:
        folder = Path(str(cv2.__file__)).parent / "data"
        self._main = _cascade(folder / "haarcascade_frontalface_alt2.xml")
        self._second = _cascade(folder / "haarcascade_frontalface_default.xml")
        self._profile = _cascade(folder / "haarcascade_profileface.xml")

    n_levels = len(SEARCH_SIDES_PX)

    def find(self, frame: Image, level: int) -> list[FaceBox]:
        """All frontal faces of a frame, largest first."""
        side_px = SEARCH_SIDES_PX[level]
        grey = _scaled(_u8(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)), side_px / min(frame.shape[:2]))
        min_px = max(20, int(MIN_SIDE * side_px))
        found = self._main.detectMultiScale(grey, scaleFactor=1.2, minNeighbors=3, minSize=(min_px, min_px))
        return _boxes(found, 1.0 / min(grey.shape), 0.0, 0.0)

    def find_harder(self, frame: Image, tilts_deg: Sequence[float] = HARDER_TILTS_DEG) -> list[FaceBox]:
        """Upright faces first; one that is seen in several turned copies counts by the least tilt."""
        grey = _u8(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        least = (HARDER_FACE_PX, HARDER_FACE_PX)
        boxes: list[FaceBox] = []
        for tilt_deg in tilts_deg:
            turned, back = _turned_back(grey, tilt_deg)
            found = self._main.detectMultiScale(turned, scaleFactor=1.2, minNeighbors=4, minSize=least)
            new = _boxes(found, 1.0 / min(grey.shape), 0.0, 0.0, back=back, tilt_deg=tilt_deg)
            boxes += [box for box in new if not any(same_place(box, known) for known in boxes)]
        return sorted(boxes, key=lambda box: (-box.side, box.x, box.y))

    def follow(self, frame: Image, last: FaceBox, *, lenient: bool = False) -> FaceBox | None:
        """The face near `last`, at most a third larger or smaller; `lenient`: also in profile, or more tilted."""
        patch = around(frame, last, FOLLOW_REACH)
        if min(patch.grey.shape) < FOLLOW_FACE_PX // 2:
            return None
        low, high = int(FOLLOW_FACE_PX * 0.75), int(FOLLOW_FACE_PX * 1.33)
        for cascade, image, mirrored, tilt_deg in self._tries(patch.grey, last.tilt_deg, lenient=lenient):
            turned, back = _turned_back(image, tilt_deg)
            found = cascade.detectMultiScale(
                turned, scaleFactor=1.1, minNeighbors=2, minSize=(low, low), maxSize=(high, high)
            )
            if len(found):
                if mirrored:
                    found = [(turned.shape[1] - x - w, y, w, h) for x, y, w, h in found]
                boxes = _boxes(
                    found, patch.step, patch.left, patch.top, strict=not lenient, back=back, tilt_deg=tilt_deg
                )
                return min(boxes, key=lambda box: (box.x - last.x) ** 2 + (box.y - last.y) ** 2)
        return None

    def _tries(
        self, grey: Image, tilt_deg: float, *, lenient: bool
    ) -> Iterator[tuple[cv2.CascadeClassifier, Image, bool, float]]:
        """Cascade, picture, mirrored? and the tilt to turn back, in the order in which they are tried."""
        for cascade, image, mirrored in self._lenient(grey) if lenient else self._strict(grey):
            yield cascade, image, mirrored, -tilt_deg if mirrored else tilt_deg
        if tilt_deg:
            even = _u8(cv2.equalizeHist(grey))
            for other in HARDER_TILTS_DEG:
                if 0 < abs(other - tilt_deg) < 30:
                    yield self._main, even, False, other

    def _strict(self, grey: Image) -> Iterator[tuple[cv2.CascadeClassifier, Image, bool]]:
        """Cascade, picture, mirrored? in the order in which they are tried."""
        yield self._main, grey, False
        yield self._main, _u8(cv2.equalizeHist(grey)), False

    def _lenient(self, grey: Image) -> Iterator[tuple[cv2.CascadeClassifier, Image, bool]]:
        even = _u8(cv2.equalizeHist(grey))
        yield self._second, even, False
        yield self._profile, even, False
        yield self._profile, np.ascontiguousarray(even[:, ::-1]), True


class YuNetDetector:
    """OpenCV's YuNet network, from a model file (`face_detection_yunet_*.onnx`, MIT) that the user has."""

    def __init__(self, model_file: Path, score_threshold: float = 0.7) -> None:
        where = str(model_file)
        if not model_file.is_file():
            raise WeightsError(Problem(where, "a YuNet model file (.onnx)", "no such file", "check `yunet`"))
        try:
            self._network = cv2.FaceDetectorYN.create(where, "", (320, 240), score_threshold, 0.3)
        except cv2.error as error:
            raise WeightsError(Problem(where, "a YuNet model file (.onnx)", str(error.err or error))) from error

    n_levels = 1

    def find(self, frame: Image, level: int) -> list[FaceBox]:
        """All faces of a frame, largest first: the network sees all sizes at once."""
        return self._detect(frame, SEARCH_SIDES_PX[-1])

    def find_harder(self, frame: Image, tilts_deg: Sequence[float] = HARDER_TILTS_DEG) -> list[FaceBox]:
        """The same in a finer picture: the network knows tilted heads."""
        return self._detect(frame, HARDER_SIDE_PX)

    def _detect(self, frame: Image, side_px: int) -> list[FaceBox]:
        picture = _scaled(_u8(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)), side_px / min(frame.shape[:2]))
        self._network.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = self._network.detect(picture)
        if rows is None:
            return []
        return _boxes([row[:4] for row in rows], 1.0 / min(picture.shape[:2]), 0.0, 0.0)

    def follow(self, frame: Image, last: FaceBox, *, lenient: bool = False) -> FaceBox | None:
        """The nearest of all faces that overlaps `last`."""
        found = self.find(frame, 0) if last.side >= MIN_SIDE else self.find_harder(frame)
        near = [b for b in found if max(abs(b.x - last.x), abs(b.y - last.y)) < 0.75 * last.side]
        return min(near, key=lambda b: (b.x - last.x) ** 2 + (b.y - last.y) ** 2, default=None)


def yunet_file(detector: str, yunet: Path | None) -> Path | None:
    """The YuNet file to use, or None for the cascades that come with OpenCV.

    `auto` takes the file given, else the one that `expotion models pull face_yunet` left, else none. WeightsError
    where `yunet` is asked for by name and there is no file.
    """
    if detector == "haar":
        return None
    found = yunet or pulled_weights("face_yunet")
    if found is None and detector == "yunet":
        fix = "expotion models pull face_yunet, or give its file as `yunet`"
        raise WeightsError(Problem("face_marlin options.detector", "YuNet's model file", "none", fix))
    return found


def make_detector(file: Path | None) -> Detector:
    """YuNet from its file, else the cascades."""
    return YuNetDetector(file) if file is not None else CascadeDetector()


def match(frame: Image, template: Image, last: FaceBox, least: float) -> FaceBox | None:
    """Where the surroundings of `last` correlate most with `template`; None below the `least` correlation.

    It carries a face through moments in which the detector fails: a turned head, a hand, bad light.
    """
    patch = around(frame, last, FOLLOW_REACH)
    grey = patch.grey
    if grey.shape[0] < template.shape[0] or grey.shape[1] < template.shape[1] or template.std() < 2.0:
        return None
    likeness = cv2.matchTemplate(grey, template, cv2.TM_CCOEFF_NORMED)
    _, best, _, (left, top) = cv2.minMaxLoc(likeness)
    if best < least:
        return None
    x = patch.left + (left + template.shape[1] / 2) * patch.step
    y = patch.top + (top + template.shape[0] / 2) * patch.step
    return FaceBox(x, y, last.side, strict=False, tilt_deg=last.tilt_deg)


def around(frame: Image, box: FaceBox, reach: float) -> Patch:
    """Grey surroundings of a box: `reach` times its side to each hand, the side being FOLLOW_FACE_PX."""
    shorter = min(frame.shape[:2])
    half = reach * box.side
    left, top = (max(0, round((centre - half) * shorter)) for centre in (box.x, box.y))
    right, bottom = (max(0, round((centre + half) * shorter)) for centre in (box.x, box.y))
    cut = frame[top:bottom, left:right]
    step = box.side / FOLLOW_FACE_PX
    if min(cut.shape[:2]) < 4:
        return Patch(np.zeros((4, 4), dtype=np.uint8), box.x, box.y, step)
    grey = _scaled(_u8(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)), 1.0 / (step * shorter))
    return Patch(grey, left / shorter, top / shorter, step)


def _u8(image: object) -> Image:
    """OpenCV's stubs do not know that it keeps the type of pixels."""
    return np.asarray(image, dtype=np.uint8)


def _cascade(path: Path) -> cv2.CascadeClassifier:
    cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    if cascade is None or cascade.empty():
        fix = "install opencv-python-headless below 5: later versions do not ship the cascades"
        raise WeightsError(Problem(str(path), "OpenCV's Haar cascade", "no such file", fix))
    return cascade


def _scaled(image: Image, scale: float) -> Image:
    if scale == 1.0:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return _u8(cv2.resize(image, size, interpolation=how))


def _turned_back(image: Image, tilt_deg: float) -> tuple[Image, Floats | None]:
    """The picture with a tilt undone, whole, and the matrix [2, 3] from its pixels to those of `image`."""
    if not tilt_deg:
        return image, None
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), tilt_deg, 1.0)  # counter-clockwise
    share_x, share_y = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (round(width * share_x + height * share_y), round(width * share_y + height * share_x))
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    turned = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _u8(turned), np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)


def _boxes(
    found: Sequence[Sequence[float]],
    to_unit: float,
    x0: float,
    y0: float,
    *,
    strict: bool = True,
    back: Floats | None = None,
    tilt_deg: float = 0.0,
) -> list[FaceBox]:
    """Corner boxes (x, y, w, h) in pixels to squares, largest first; the order does not depend on threads.

    `back` leads from the pixels of a turned copy to those of the picture that lies at (x0, y0).
    """
    boxes = []
    for x, y, w, h in found:
        across, down = float(x + w / 2), float(y + h / 2)
        if back is not None:
            across, down = (float(row @ (across, down, 1.0)) for row in back)
        boxes.append(
            FaceBox(x0 + across * to_unit, y0 + down * to_unit, float(max(w, h)) * to_unit, strict, tilt_deg)
        )
    return sorted(boxes, key=lambda box: (-box.side, box.x, box.y))


def same_place(a: FaceBox, b: FaceBox) -> bool:
    """Whether two boxes overlap so much that they are of one face."""
    return max(abs(a.x - b.x), abs(a.y - b.y)) < 0.6 * max(a.side, b.side)
