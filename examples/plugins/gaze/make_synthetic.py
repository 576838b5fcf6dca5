"""Write tests/data/synthetic_gaze.jsonl: MediaPipe's result format, filled from the conductor world's true head.

    python make_synthetic.py        # needs expotion-conductor

No face model has seen these numbers. The world's yaw and pitch are shifts of the features, taken as radians here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from expotion_conductor.figure import Figure
from expotion_conductor.plan import make_plan

SEED, DURATION_S, RATE_HZ = 5_000_001, 4.0, 25.0


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rz(roll) Ry(yaw) Rx(pitch), [3, 3]."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (pitch, yaw, roll) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def results(seed: int, duration_s: float, rate_hz: float) -> list[dict[str, object]]:
    """One result per frame."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pose = Figure(make_plan(seed, duration_s)).pose(times_s)
    found = []
    for row, time_s in enumerate(times_s):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(pose.yaw[row], pose.pitch[row], pose.head_angle[row])
        look, closed = float(pose.gaze[row]), float(1.0 - pose.eye[row])
        scores = {
            "eyeLookInLeft": max(look, 0.0),
            "eyeLookOutRight": max(look, 0.0),
            "eyeLookOutLeft": max(-look, 0.0),
            "eyeLookInRight": max(-look, 0.0),
            "eyeBlinkLeft": closed,
            "eyeBlinkRight": closed,
        }
        shapes = [{"category_name": name, "score": round(score, 5)} for name, score in scores.items()]
        found.append(
            {
                "timestamp_ms": round(time_s * 1000),
                "facial_transformation_matrixes": [np.round(matrix, 6).ravel().tolist()],
                "face_blendshapes": [shapes],
            }
        )
    return found


if __name__ == "__main__":
    path = Path(__file__).parent / "tests" / "data" / "synthetic_gaze.jsonl"
    path.write_text("".join(json.dumps(result) + "\n" for result in results(SEED, DURATION_S, RATE_HZ)))
    print(path)
