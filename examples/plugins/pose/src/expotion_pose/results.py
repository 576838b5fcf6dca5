"""MediaPipe's pose results, one JSON object per line, with the names that MediaPipe gives them.

    {"timestamp_ms": 40, "pose_landmarks": [[{"x": 0.5, "y": 0.3, "z": 0.0, "visibility": 0.9}, ... 33 of them]]}

x and y are fractions of the frame's width and height. An empty `pose_landmarks` means that nobody was found; of
several people the first counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.errors import MediaError, Problem

N_LANDMARKS = 33


@dataclass(frozen=True)
class Landmarks:
    """Times [n] in seconds, increasing; landmarks [n, 33, 3] as x, y and visibility; zeros where nobody is."""

    times_s: NDArray[np.float64]
    points: NDArray[np.float64]


def read_results(path: Path) -> Landmarks:
    """Landmarks of a saved recording. Raises MediaError that names the line."""
    times_s, points = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(Problem(str(path), "a readable file of results", str(error))) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            result = json.loads(line)
            people = result["pose_landmarks"]
            found = (
                np.array([[p["x"], p["y"], p.get("visibility", 0.0)] for p in people[0]], dtype=np.float64)
                if people
                else np.zeros((N_LANDMARKS, 3))
            )
            if found.shape != (N_LANDMARKS, 3) or not np.isfinite(found).all():
                raise ValueError(f"{len(found)} landmarks")
            times_s.append(float(result["timestamp_ms"]) / 1000.0)
        except (ValueError, KeyError, TypeError) as error:
            wanted = f"timestamp_ms and pose_landmarks with {N_LANDMARKS} landmarks"
            raise MediaError(Problem(f"{path}:{number}", wanted, f"{type(error).__name__}: {error}")) from error
        points.append(found)
    order = np.argsort(times_s, kind="stable")
    ordered = np.asarray(times_s, dtype=np.float64)[order]
    keep = np.concatenate([[True], np.diff(ordered) > 0]) if len(ordered) else np.zeros(0, bool)
    stacked = np.array(points).reshape(-1, N_LANDMARKS, 3)[order]
    return Landmarks(ordered[keep], stacked[keep])
