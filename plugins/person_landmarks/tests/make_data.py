"""Write data/rendered.npz: landmarks that the networks give for rendered people, as the suite has no networks.

uv run python plugins/person_landmarks/tests/make_data.py     after `expotion models pull mediapipe_person`
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests" / "shared"))

from rendered_people import RenderedPerson, make_script  # noqa: E402

from expotion_person_landmarks.follow import landmarks_of  # noqa: E402

CLIPS = (("conducting", 7_000_004), ("nods", 7_000_102), ("pointing", 7_000_301), ("sway", 7_000_203))


def main() -> None:
    """Four clips of 4 s: the body in tenths of a pixel; one face over 2 s."""
    arrays = {}
    for kind, seed in CLIPS:
        found = landmarks_of(RenderedPerson(make_script(kind, seed, 4.0)), "pose")
        arrays[kind] = np.round(found.points, 2).astype(np.float32)
        arrays[f"{kind}_times_s"] = found.times_s
    face = landmarks_of(RenderedPerson(make_script("nods", 7_000_102, 2.0)), "face")
    arrays["face"], arrays["face_times_s"] = face.points.astype(np.float16), face.times_s
    target = Path(__file__).parent / "data" / "rendered.npz"
    target.parent.mkdir(exist_ok=True)
    np.savez_compressed(target, **arrays)


if __name__ == "__main__":
    main()
