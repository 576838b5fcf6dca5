"""The suite that every encoder passes, and what this one promises."""

from pathlib import Path

import numpy as np
import pytest

from expotion.errors import MediaError
from expotion.testing import SyntheticClip, check_encoder
from expotion_sensor import SPEC

COLUMNS = SPEC.options().channels


def recording(path: Path, times_s: np.ndarray, values: np.ndarray) -> Path:
    lines = [",".join(("time_s", *COLUMNS))]
    lines += [",".join(map(str, (time, *row))) for time, row in zip(times_s, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def blow_at_one_second(tmp_path: Path) -> Path:
    times_s = np.arange(200) / 100
    values = np.tile([0.0, 9.81, 0.0], (200, 1))
    values[100, 1] = 60.0
    return recording(tmp_path / "blow.csv", times_s, values)


def extract(path: Path, duration_s: float = 2.0, **options: object):
    clip = SyntheticClip(duration_s, tracks={"wrist_accelerometer": path})
    return SPEC.build(SPEC.options(**options)).extract(clip)


def test_it_keeps_the_contract(blow_at_one_second: Path) -> None:
    check_encoder(SPEC, tracks={"wrist_accelerometer": blow_at_one_second})


def test_a_blow_is_a_jolt_and_gravity_is_nothing(blow_at_one_second: Path) -> None:
    found = extract(blow_at_one_second)
    jolt = found.values[:, 4]
    assert abs(found.times_s[jolt.argmax()] - 1.0) <= 0.02
    assert np.abs(found.values[:40]).max() < 1e-6


def test_the_sampling_rate_of_the_file_does_not_matter(tmp_path: Path) -> None:
    tracks = []
    for rate_hz in (60, 100, 250):
        times_s = np.arange(0, 2, 1 / rate_hz)
        values = 5 * np.sin(2 * np.pi * 2 * times_s)[:, None] * np.ones(3)
        found = extract(recording(tmp_path / f"{rate_hz}.csv", times_s, values))
        tracks.append(found.values[found.times_s < 1.9])  # before the first of the files ends
    assert np.abs(tracks[0] - tracks[2]).max() < 0.1
    assert np.abs(tracks[1] - tracks[2]).max() < 0.05


def test_a_gap_is_invalid(tmp_path: Path) -> None:
    times_s = np.concatenate([np.arange(50) / 100, 1.5 + np.arange(50) / 100])
    found = extract(recording(tmp_path / "gap.csv", times_s, np.ones((100, 3))))
    inside = (found.times_s > 0.55) & (found.times_s < 1.45)
    assert not found.valid[inside].any()
    assert found.valid[found.times_s < 0.45].all()


def test_events_hold_until_the_next(tmp_path: Path) -> None:
    path = tmp_path / "cc.csv"
    path.write_text("time_s,name,value\n0.5,cc1,0\n1.0,cc1,127\n0.2,cc7,64\n")
    found = extract(path, layout="events", channels=("cc1",), scale=127.0, jolts=False)
    first = float(found.times_s[found.valid][0])
    assert 0.5 <= first < 0.53
    before = found.values[found.valid & (found.times_s < 0.98), 0].mean()
    step = found.values[found.times_s > 1.02, 0].mean() - before
    assert step == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "named"),
    [("time_s,other\n0,1\n", "x_m_per_s2"), ("time_s,x_m_per_s2,y_m_per_s2,z_m_per_s2\n0,a,1,1\n", "'a'")],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(MediaError, match=named):
        extract(path)


def test_a_clip_without_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="wrist_accelerometer"):
        SPEC.build(SPEC.options()).extract(SyntheticClip())
