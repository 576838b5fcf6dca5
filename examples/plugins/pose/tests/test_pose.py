"""The suite that every encoder passes, and what this one promises, on synthetic results (`make_synthetic.py`)."""

import json
from pathlib import Path

import numpy as np
import pytest

from expotion.errors import MediaError, WeightsError
from expotion.testing import SyntheticClip, check_encoder
from expotion_pose import POINTS, SPEC
from expotion_pose.detector import thinned
from expotion_pose.encoder import features
from expotion_pose.results import read_results

RESULTS = Path(__file__).parent / "data" / "synthetic_pose.jsonl"
SAVED = {"source": "results"}


def extract(path: Path = RESULTS):
    return SPEC.build(SPEC.options(**SAVED)).extract(SyntheticClip(2.0, tracks={"pose": path}))


def test_it_keeps_the_contract() -> None:
    check_encoder(SPEC, SAVED, tracks={"pose": RESULTS})


def test_features_are_in_shoulder_widths_around_their_middle() -> None:
    found = extract()
    names = list(POINTS)
    left, right = (found.values[:, 2 * names.index(f"{side}_shoulder") :][:, :2] for side in ("left", "right"))
    assert found.valid.all()
    assert np.allclose(left + right, 0.0, atol=1e-5)
    assert np.allclose(np.linalg.norm(left - right, axis=1), 1.0, atol=1e-4)


def test_velocities_are_those_of_the_places() -> None:
    found = extract()
    wrist = 2 * list(POINTS).index("right_wrist") + 1
    place, speed = found.values[:, wrist], found.values[:, 14 + wrist] * 5.0
    steps = np.gradient(place, found.times_s)
    assert np.corrcoef(steps[2:-2], speed[2:-2])[0, 1] > 0.9


def moved(result: dict, scale: float, shift: float) -> dict:
    people = [
        [{**p, "x": p["x"] * scale + shift, "y": p["y"] * scale} for p in person]
        for person in result["pose_landmarks"]
    ]
    return {**result, "pose_landmarks": people}


def test_a_person_farther_away_gives_the_same_features(tmp_path: Path) -> None:
    path = tmp_path / "far.jsonl"
    lines = [json.dumps(moved(json.loads(line), 0.5, 0.3)) for line in RESULTS.read_text().splitlines()]
    path.write_text("\n".join(lines))
    assert np.allclose(extract(path).values, extract().values, atol=2e-3)


def test_rows_without_wrists_are_invalid(tmp_path: Path) -> None:
    path = tmp_path / "hidden.jsonl"
    lines = []
    for line in RESULTS.read_text().splitlines():
        result = json.loads(line)
        if 500 <= result["timestamp_ms"] <= 1500:
            for side in ("left_wrist", "right_wrist"):
                result["pose_landmarks"][0][POINTS[side]]["visibility"] = 0.1
        lines.append(json.dumps(result))
    path.write_text("\n".join(lines))
    found = extract(path)
    hidden = (found.times_s > 0.6) & (found.times_s < 1.4)
    assert not found.valid[hidden].any()
    assert found.valid[(found.times_s < 0.45) | (found.times_s > 1.6)].all()


def test_nobody_in_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text('{"timestamp_ms": 0, "pose_landmarks": []}\n')
    assert not extract(path).valid.any()


def test_the_rate_of_the_results_does_not_matter() -> None:
    found = read_results(RESULTS)
    times_s = np.arange(4, 96) / 50
    whole, _ = features(found, times_s, 0.5)
    half, _ = features(type(found)(found.times_s[::2], found.points[::2]), times_s, 0.5)
    still = np.abs(whole).std(axis=0)
    assert np.abs(whole - half)[:, :14].mean() < 0.25 * still[:14].mean()


@pytest.mark.parametrize("line", ["{", '{"timestamp_ms": 1}', '{"timestamp_ms": 1, "pose_landmarks": [[]]}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"timestamp_ms": 0, "pose_landmarks": []}\n' + line)
    with pytest.raises(MediaError, match=r"bad\.jsonl:2"):
        extract(path)


def test_a_missing_model_says_where_it_is() -> None:
    with pytest.raises(WeightsError, match=r"storage\.googleapis\.com/mediapipe-models"):
        SPEC.build(SPEC.options())


def test_frames_are_thinned_to_their_own_times() -> None:
    times_s = np.arange(60) / 60 + 0.003
    kept = thinned(times_s, 25.0)
    assert set(kept) <= set(times_s)
    assert np.diff(kept).min() >= 0.9 / 25
