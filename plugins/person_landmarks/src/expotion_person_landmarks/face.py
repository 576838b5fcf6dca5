"""The face: 468 landmarks of its surface and 5 of each iris, by the region that the frame before left behind.

Kartynnik et al. 2019 (face mesh) and Ablavatski et al. 2020 (iris). Faces are looked for once; after that the
landmarks of one frame say where the next one has to look, until the network says that there is no face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expotion_person_landmarks.detection import FACES, Finder
from expotion_person_landmarks.models import Network
from expotion_person_landmarks.regions import Image, Points, Region, around_points

FILES = ("face_detection_short_range.tflite", "face_landmark.tflite", "iris_landmark.tflite")
SIDE, IRIS_SIDE = 192, 64
SCALE, IRIS_SCALE = 1.5, 2.3
"""Regions over the box around a face and around an eye's corners."""
PRESENT = 0.5
N_MESH, N_IRIS = 468, 5
LEVEL = (33, 263)
"""The outer corners of the eyes: the line that is level in a face's region."""
EYES = ((33, 133), (362, 263))
"""Corners of the right and the left eye (the person's own), from the picture's left to its right."""


class FaceTracker:
    """Follows one face: a `Region` per frame, made by the frame before or by looking for faces."""

    def __init__(self) -> None:
        self.finder = Finder(FACES)
        self.network = Network(FILES[1])
        self.iris = Network(FILES[2])

    def find(self, frame: Image) -> list[Region]:
        """The regions of all faces in a picture, the surest first."""
        return [
            around_points(found.box.reshape(2, 2), found.keypoints[0], found.keypoints[1], SCALE)
            for found in self.finder(frame)
        ]

    def follow(self, frame: Image, region: Region, time_s: float) -> tuple[Points, Region] | None:
        """Landmarks [478, 3] (pixels, the face's score) and the next region; None where there is no face."""
        del time_s
        outputs = self.network(region.cut(frame, SIDE))
        logit = float(next(values for values in outputs if values.size == 1).reshape(-1)[0])
        score = float(1.0 / (1.0 + np.exp(-logit)))
        if score < PRESENT:
            return None
        mesh = next(values for values in outputs if values.size == N_MESH * 3).reshape(N_MESH, 3)
        places = region.to_picture(mesh[:, :2].astype(np.float64), SIDE)
        following = around_points(places, places[LEVEL[0]], places[LEVEL[1]], SCALE)
        irises = [self._iris(frame, places[list(corners)], mirrored=side == 1) for side, corners in enumerate(EYES)]
        points = np.concatenate([places, *irises])
        return np.column_stack([points, np.full(len(points), score)]), following

    def _iris(self, frame: Image, corners: Points, mirrored: bool) -> Points:
        """Middle and rim of an iris [5, 2] in the picture; the network knows one eye, the other is mirrored."""
        region = around_points(corners, corners[0], corners[1], IRIS_SCALE)
        picture = region.cut(frame, IRIS_SIDE)
        if mirrored:
            picture = np.ascontiguousarray(picture[:, :, ::-1])
        outputs = self.iris(picture)
        found: NDArray[np.float32] = next(values for values in outputs if values.size == N_IRIS * 3)
        places = found.reshape(N_IRIS, 3)[:, :2].astype(np.float64)
        if mirrored:
            places[:, 0] = IRIS_SIDE - places[:, 0]
        return region.to_picture(places, IRIS_SIDE)
