"""Seconds, samples, frames and windows."""

import numpy as np
import pytest

from expotion import timeline
from expotion.errors import ExpotionError


def test_ten_seconds_are_500_steps_and_501_rows():
    n = timeline.n_steps(10.0, timeline.CODEC_RATE_HZ)
    rows = timeline.step_times_s(n, timeline.CODEC_RATE_HZ)
    assert n == 500
    assert rows.shape == (501,)
    assert (rows[0], rows[1], rows[-1]) == (0.0, 0.02, 10.0)
    assert timeline.frames_duration_s(n, timeline.CODEC_RATE_HZ) == 10.0


def test_samples_and_frames():
    assert timeline.n_samples(1.5, 32_000) == 48_000
    assert timeline.n_samples(-1.0, 32_000) == 0
    assert timeline.samples_per_frame(timeline.CODEC_SAMPLE_RATE_HZ) == 640
    assert timeline.sample_times_s(3, 2.0, 1.0).tolist() == [1.0, 1.5, 2.0]
    with pytest.raises(ExpotionError, match="divide"):
        timeline.samples_per_frame(44_101)


@pytest.mark.parametrize(("time_s", "frame"), [(0.0, 0), (0.0199, 0), (0.02, 1), (0.3 - 1e-17, 15), (-1.0, 0)])
def test_frame_at(time_s, frame):
    assert timeline.frame_at(time_s, 50.0) == frame


def test_shown_frame_is_the_last_that_is_not_later():
    times = np.array([0.0, 0.04, 0.1])
    shown = timeline.shown_at(times, np.array([-1.0, 0.0, 0.039, 0.04, 0.099, 0.1, 7.0]))
    assert shown.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_period():
    assert timeline.period_s(np.array([0.0, 0.1, 0.2, 1.2])) == pytest.approx(0.1)
    assert timeline.period_s(np.array([3.0])) is None


@pytest.mark.parametrize(
    ("duration_s", "window_s", "hop_s", "starts"),
    [
        (2.0, 1.0, 0.5, [0.0, 0.5, 1.0]),
        (2.2, 1.0, 0.5, [0.0, 0.5, 1.0, 1.2]),
        (1.0, 1.0, 0.5, [0.0]),
        (0.4, 1.0, 0.5, [0.0]),
        (3.0, 1.0, 1.0, [0.0, 1.0, 2.0]),
    ],
)
def test_windows(duration_s, window_s, hop_s, starts):
    found = timeline.windows(duration_s, window_s, hop_s)
    assert [w.start_s for w in found] == pytest.approx(starts)
    assert found[-1].end_s == pytest.approx(duration_s)
    assert found[0].centre_s == pytest.approx(min(window_s, duration_s) / 2)


def test_windows_must_be_positive():
    with pytest.raises(ExpotionError, match="positive"):
        timeline.windows(1.0, 0.0, 1.0)
