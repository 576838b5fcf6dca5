"""MediaPipe's face results, one JSON object per line, with the names that MediaPipe gives them.

    {"timestamp_ms": 40,
     "facial_transformation_matrixes": [[16 numbers, row by row]],
     "face_blendshapes": [[{"category_name": "eyeLookInLeft", "score": 0.1}, ...]]}

Empty lists mean that no face was found; of several faces the first counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem
from expotion_gaze import CHANNELS

ANGLE_SCALE_RAD = math.radians(45.0)


@dataclass(frozen=True)
class Gazes:
    """Times [n] in seconds, increasing; values [n, 6] by `CHANNELS`; seen [n]."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    seen: NDArray[np.bool_]


def describe(matrix: NDArray[np.float64], scores: Mapping[str, float]) -> list[float]:
    """The six channels of one face: head rotation from the 4x4 matrix, eyes from the blendshape scores.

    R = Rz(roll) Ry(yaw) Rx(pitch); the matrix may be scaled, so its columns are normed first.
    """
    rotation = matrix[:3, :3] / np.maximum(np.linalg.norm(matrix[:3, :3], axis=0), 1e-9)
    yaw = math.asin(float(np.clip(-rotation[2, 0], -1.0, 1.0)))
    pitch = math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    roll = math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))

    def score(name: str) -> float:
        return float(scores.get(name, 0.0))

    # Looking right turns the left eye in and the right eye out.
    right = score("eyeLookInLeft") + score("eyeLookOutRight")
    left = score("eyeLookOutLeft") + score("eyeLookInRight")
    up = score("eyeLookUpLeft") + score("eyeLookUpRight")
    down = score("eyeLookDownLeft") + score("eyeLookDownRight")
    closed = (score("eyeBlinkLeft") + score("eyeBlinkRight")) / 2
    angles = [angle / ANGLE_SCALE_RAD for angle in (yaw, pitch, roll)]
    return [*angles, (right - left) / 2, (up - down) / 2, 1.0 - closed]


def read_results(path: Path) -> Gazes:
    """Gazes of a saved recording. Raises MediaError that names the line."""
    times_s, values, seen = [], [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(Problem(str(path), "a readable file of results", str(error))) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            result = json.loads(line)
            matrices, shapes = result["facial_transformation_matrixes"], result["face_blendshapes"]
            found = [0.0] * len(CHANNELS)
            if matrices and shapes:
                scores = {shape["category_name"]: float(shape["score"]) for shape in shapes[0]}
                found = describe(np.array(matrices[0], dtype=np.float64).reshape(4, 4), scores)
            if not np.isfinite(found).all():
                raise ValueError("numbers that are not finite")
            time_s = float(result["timestamp_ms"]) / 1000.0
        except (ValueError, KeyError, TypeError) as error:
            wanted = "timestamp_ms, facial_transformation_matrixes of 16 numbers, face_blendshapes"
            raise MediaError(Problem(f"{path}:{number}", wanted, f"{type(error).__name__}: {error}")) from error
        times_s.append(time_s)
        values.append(found)
        seen.append(bool(matrices and shapes))
    order = np.argsort(times_s, kind="stable")
    ordered = np.asarray(times_s, dtype=np.float64)[order]
    keep = np.concatenate([[True], np.diff(ordered) > 0]) if len(ordered) else np.zeros(0, bool)
    stacked = np.array(values).reshape(-1, len(CHANNELS))[order]
    return Gazes(ordered[keep], stacked[keep], np.array(seen, dtype=bool)[order][keep])
