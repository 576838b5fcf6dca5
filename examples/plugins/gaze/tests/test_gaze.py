"""The suite that every encoder passes, and what this one promises, on synthetic results (`make_synthetic.py`)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from expotion.errors import MediaError, WeightsError
from expotion.testing import SyntheticClip, check_encoder
from expotion_gaze import CHANNELS, SPEC
from expotion_gaze.results import ANGLE_SCALE_RAD, describe

RESULTS = Path(__file__).parent / "data" / "synthetic_gaze.jsonl"
SAVED = {"source": "results"}


def extract(path: Path = RESULTS):
    return SPEC.build(SPEC.options(**SAVED)).extract(SyntheticClip(4.0, tracks={"gaze": path}))


def turned(axis: str, angle_rad: float) -> np.ndarray:
    matrix = np.eye(4)
    first, second = {"pitch": (1, 2), "yaw": (2, 0), "roll": (0, 1)}[axis]
    matrix[first, first] = matrix[second, second] = math.cos(angle_rad)
    matrix[first, second], matrix[second, first] = -math.sin(angle_rad), math.sin(angle_rad)
    return matrix


def test_it_keeps_the_contract() -> None:
    check_encoder(SPEC, SAVED, tracks={"gaze": RESULTS})


@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_a_turned_head_moves_one_channel(axis: str, scale: float) -> None:
    matrix = turned(axis, 0.3)
    matrix[:3, :3] *= scale
    found = dict(zip(CHANNELS, describe(matrix, {}), strict=True))
    assert found[axis] == pytest.approx(0.3 / ANGLE_SCALE_RAD, abs=1e-6)
    assert all(abs(found[other]) < 1e-6 for other in ("yaw", "pitch", "roll") if other != axis)


def test_eyes_to_the_right_and_a_blink() -> None:
    scores = {"eyeLookInLeft": 0.6, "eyeLookOutRight": 0.6, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}
    found = dict(zip(CHANNELS, describe(np.eye(4), scores), strict=True))
    assert found["eyes_right"] == pytest.approx(0.6)
    assert found["eyes_open"] == 0.0


def test_the_track_is_the_recording() -> None:
    found = extract()
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    roll = [math.atan2(m[4], m[0]) for m in (line["facial_transformation_matrixes"][0] for line in lines)]
    at_s = np.array([line["timestamp_ms"] for line in lines]) / 1000
    assert found.valid.all()
    assert np.allclose(found.values[:, 2], np.interp(found.times_s, at_s, roll) / ANGLE_SCALE_RAD, atol=1e-4)


def test_a_second_without_a_face_is_invalid(tmp_path: Path) -> None:
    path = tmp_path / "away.jsonl"
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    for line in lines:
        if 1000 <= line["timestamp_ms"] <= 2000:
            line["facial_transformation_matrixes"], line["face_blendshapes"] = [], []
    path.write_text("\n".join(map(json.dumps, lines)))
    found = extract(path)
    assert not found.valid[(found.times_s > 1.05) & (found.times_s < 1.95)].any()
    assert found.valid[found.times_s < 0.95].all()


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        '{"timestamp_ms": 1}',
        '{"timestamp_ms": 1, "facial_transformation_matrixes": [[1]], '
        '"face_blendshapes": [[{"category_name": "a", "score": 1}]]}',
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line)
    with pytest.raises(MediaError, match=r"bad\.jsonl:1"):
        extract(path)


def test_a_missing_model_says_where_it_is() -> None:
    with pytest.raises(WeightsError, match=r"storage\.googleapis\.com/mediapipe-models"):
        SPEC.build(SPEC.options())
