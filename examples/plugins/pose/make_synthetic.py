"""Write tests/data/synthetic_pose.jsonl: MediaPipe's result format, filled from the conductor world's true joints.

    python make_synthetic.py        # needs expotion-conductor

No pose model has seen these numbers. Landmarks that the world does not have (face, fingers, legs) are 0, unseen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from expotion_conductor.figure import Figure
from expotion_conductor.plan import make_plan
from expotion_pose import POINTS
from expotion_pose.results import N_LANDMARKS

SEED, DURATION_S, RATE_HZ, SIZE_PX = 5_000_001, 2.0, 25.0, 192


def results(seed: int, duration_s: float, rate_hz: float) -> list[dict[str, object]]:
    """One result per frame."""
    figure = Figure(make_plan(seed, duration_s), SIZE_PX)
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    joints = figure.joints(times_s)
    found = []
    for row, time_s in enumerate(times_s):
        person = [{"x": 0.0, "y": 0.0, "z": 0.0, "visibility": 0.0} for _ in range(N_LANDMARKS)]
        for name, number in POINTS.items():
            x, y = joints[name][row] / SIZE_PX
            person[number] = {"x": round(x, 5), "y": round(y, 5), "z": 0.0, "visibility": 0.95}
        found.append({"timestamp_ms": round(time_s * 1000), "pose_landmarks": [person]})
    return found


if __name__ == "__main__":
    path = Path(__file__).parent / "tests" / "data" / "synthetic_pose.jsonl"
    path.write_text("".join(json.dumps(result) + "\n" for result in results(SEED, DURATION_S, RATE_HZ)))
    print(path)
