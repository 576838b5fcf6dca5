"""Hand-worked cases of the smoother, and the same motion at six frame rates."""

import numpy as np
import pytest
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import ExpotionError


def track(*rows: tuple[float, float, bool]) -> tuple[NDArray, NDArray, NDArray]:
    times, values, valid = zip(*rows, strict=True)
    return np.array(values, np.float32)[:, None], np.array(times, np.float64), np.array(valid, np.bool_)


def run(samples, at, **options):
    values, valid = timeline.smooth(*samples, np.array(at, np.float64), **options)
    assert values.dtype == np.float32
    assert valid.dtype == np.bool_
    assert np.isfinite(values).all()
    assert not values[~valid].any()
    return values[:, 0].tolist(), valid.tolist()


RAMP = track((0.0, 0.0, True), (0.1, 1.0, True), (0.2, 3.0, True))


def test_linear_between_samples():
    values, valid = run(RAMP, [0.0, 0.05, 0.1, 0.125, 0.2])
    assert values == pytest.approx([0.0, 0.5, 1.0, 1.5, 3.0])
    assert all(valid)


def test_ends_are_held_for_one_native_period_only():
    values, valid = run(RAMP, [-0.11, -0.1, -0.05, 0.25, 0.3, 0.31])
    assert valid == [False, True, True, True, True, False]
    assert values == pytest.approx([0, 0, 0, 3, 3, 0])


def test_given_period_rules_over_the_estimate():
    _, valid = run(RAMP, [0.25, 0.3], native_period_s=0.05)
    assert valid == [True, False]


def test_gap_up_to_half_a_second_is_joined():
    samples = track((0.0, 0.0, True), (0.1, 9.0, False), (0.5, 5.0, True), (1.01, 6.0, True), (1.11, 7.0, True))
    values, valid = run(samples, [0.25, 0.5, 0.75, 1.01, 1.06], native_period_s=0.1)
    assert valid == [True, True, False, True, True]
    assert values == pytest.approx([2.5, 5.0, 0.0, 6.0, 6.5], abs=1e-6)


def test_gap_of_two_native_periods_is_joined_when_they_are_long():
    samples = track((0.0, 0.0, True), (1.0, 9.0, False), (2.0, 2.0, True), (3.0, 3.0, True), (5.1, 0.0, True))
    values, valid = run(samples, [1.0, 2.5, 4.0], native_period_s=1.0)
    assert valid == [True, True, False]
    assert values == pytest.approx([1.0, 2.5, 0.0])


def test_max_gap_can_be_set():
    _, valid = run(RAMP, [0.05, 0.1], max_gap_s=0.05)
    assert valid == [False, True]


def test_irregular_times():
    samples = track((0.0, 0.0, True), (0.03, 3.0, True), (0.2, 20.0, True), (0.21, 21.0, True))
    values, valid = run(samples, [0.01, 0.1, 0.205])
    assert all(valid)
    assert values == pytest.approx([1.0, 10.0, 20.5], abs=1e-5)


def test_no_valid_sample_and_no_sample_at_all():
    assert run(track((0.0, 1.0, False)), [0.0, 1.0]) == ([0.0, 0.0], [False, False])
    empty = np.zeros((0, 3), np.float32), np.zeros(0), np.zeros(0, np.bool_)
    values, valid = timeline.smooth(*empty, np.array([0.0, 0.5]))
    assert values.shape == (2, 3)
    assert not valid.any()


def test_one_sample_without_a_period_is_valid_at_its_own_time():
    assert run(track((0.5, 4.0, True)), [0.4, 0.5, 0.6]) == ([0.0, 4.0, 0.0], [False, True, False])


def test_rows_need_not_be_sorted_except_for_events():
    values, _ = run(RAMP, [0.2, 0.0, 0.1])
    assert values == pytest.approx([3.0, 0.0, 1.0])
    with pytest.raises(ExpotionError, match="at_s must increase"):
        run(RAMP, [0.2, 0.0], kind="event")


def test_hold_never_looks_ahead():
    values, valid = run(RAMP, [-0.05, 0.0, 0.09, 0.1, 0.19, 0.25], kind="hold")
    assert valid == [False, True, True, True, True, True]
    assert values == pytest.approx([0.0, 0.0, 0.0, 1.0, 1.0, 3.0])


def test_angle_takes_the_short_way_round():
    samples = track((0.0, np.pi - 0.1, True), (0.1, -np.pi + 0.3, True))
    values, _ = run(samples, [0.0, 0.025, 0.05, 0.1], kind="angle")
    assert values == pytest.approx([np.pi - 0.1, np.pi, -np.pi + 0.1, -np.pi + 0.3], abs=1e-5)


def test_angle_is_per_dimension():
    values = np.array([[0.0, 3.0], [1.0, -3.0]], np.float32)
    smoothed, _ = timeline.smooth(
        values, np.array([0.0, 0.1]), np.ones(2, np.bool_), np.array([0.05]), kind="angle"
    )
    assert smoothed[0, 0] == pytest.approx(0.5)
    assert abs(smoothed[0, 1]) == pytest.approx(np.pi, abs=1e-5)


def test_events_go_to_the_nearest_row_and_sum():
    samples = track(
        (0.009, 1.0, True), (0.011, 2.0, True), (0.025, 4.0, True), (0.041, 8.0, True), (0.06, 9.0, False)
    )
    values, valid = run(samples, [0.0, 0.02, 0.04, 0.06], kind="event")
    assert values == pytest.approx([1.0, 6.0, 8.0, 0.0])
    assert valid == [True, True, True, False]


def test_events_in_a_tie_go_to_the_earlier_row_and_outside_ones_are_dropped():
    samples = track((0.5, 1.0, True), (1.0, 1.0, True), (1.5, 5.0, True), (2.6, 7.0, True))
    values, _ = run(samples, [0.0, 1.0, 2.0], kind="event", max_gap_s=10.0)
    assert values == pytest.approx([1.0, 6.0, 0.0])


def test_events_up_to_half_a_row_beyond_the_ends_are_kept():
    """Two rows a second apart: -0.4 and 1.4 s lie within half a second of them, -0.6 and 1.6 s do not."""
    samples = track((-0.6, 8.0, True), (-0.4, 1.0, True), (1.4, 2.0, True), (1.6, 16.0, True))
    values, _ = run(samples, [0.0, 1.0], kind="event", max_gap_s=10.0)
    assert values == [1.0, 2.0]
    values, _ = run(samples, [-1.0, 0.0, 1.0], kind="event", max_gap_s=10.0, native_period_s=1.0)
    assert values == [8.0, 1.0, 2.0]


def test_one_row_gathers_the_events_within_half_a_period():
    samples = track((0.0, 1.0, True), (0.15, 2.0, True), (0.25, 4.0, True))
    values, _ = run(samples, [0.0], kind="event", native_period_s=0.4)
    assert values == [3.0]


def test_the_tolerance_is_a_microsecond_and_belongs_to_what_is_valid():
    """Samples stand at 0 s, so that the limits are numbers that a float holds exactly."""
    reach_s = 0.25 + timeline.EPSILON_S
    first = track((0.0, 5.0, True), (0.25, 5.0, True))
    assert run(first, [-reach_s, -1.01 * reach_s])[1] == [True, False]
    last = track((-0.25, 5.0, True), (0.0, 5.0, True))
    assert run(last, [reach_s, 1.01 * reach_s])[1] == [True, False]
    one = track((0.0, 5.0, True))
    assert run(one, [-timeline.EPSILON_S, timeline.EPSILON_S, 2 * timeline.EPSILON_S])[1] == [True, True, False]
    for gap_s, joined in ((timeline.MIN_GAP_S + timeline.EPSILON_S, True), (timeline.MIN_GAP_S + 2e-6, False)):
        pair = track((0.0, 5.0, True), (gap_s, 5.0, True))
        assert run(pair, [0.25], native_period_s=0.1)[1] == [joined]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ((np.zeros((2, 1), np.float32), np.array([0.0, 0.0]), np.ones(2, np.bool_)), "increase strictly"),
        ((np.zeros((3, 1), np.float32), np.array([0.0, 1.0]), np.ones(2, np.bool_)), "values"),
        ((np.zeros((1, 1), np.float32), np.array([0.0]), np.ones(1)), "bool"),
        ((np.full((1, 1), np.nan, np.float32), np.array([0.0]), np.ones(1, np.bool_)), "finite"),
    ],
)
def test_wrong_input_is_named(samples, message):
    with pytest.raises(ExpotionError, match=message):
        timeline.smooth(*samples, np.array([0.0]))


def test_nan_where_invalid_does_no_harm():
    samples = track((0.0, 1.0, True), (0.1, np.nan, False), (0.2, 3.0, True))
    values, valid = run(samples, [0.1], native_period_s=0.1)
    assert (values, valid) == ([2.0], [True])


def motion(times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """1.5 Hz gesture with a slower sway, amplitude 1."""
    wave = 0.7 * np.sin(2 * np.pi * 1.5 * times_s) + 0.3 * np.cos(2 * np.pi * 0.4 * times_s + 1.0)
    return np.stack([wave, wave**2], axis=1).astype(np.float32)


def test_same_motion_at_six_rates_gives_the_same_track():
    """Linear interpolation errs by at most max|f''| / 8 per squared period: 0.44 at 12 fps, 0.018 at 60."""
    rng = np.random.default_rng(3)
    at = timeline.step_times_s(timeline.n_steps(4.0, timeline.CODEC_RATE_HZ), timeline.CODEC_RATE_HZ)
    grids = {fps: np.arange(0.0, 4.0, 1.0 / fps) for fps in (12.0, 24.0, 25.0, 29.97, 60.0)}
    steps = np.concatenate([[0.0], np.cumsum(rng.uniform(1 / 60, 1 / 15, 200))])
    grids[0.0] = steps[steps < 4.0]
    curvature = 0.7 * (2 * np.pi * 1.5) ** 2 + 0.3 * (2 * np.pi * 0.4) ** 2
    inside = at < 3.9
    for times_s in grids.values():
        values, valid = timeline.smooth(motion(times_s), times_s, np.ones(len(times_s), np.bool_), at)
        bound = curvature / 8.0 * float(np.diff(times_s).max()) ** 2
        assert valid.all()
        assert np.abs(values[inside, 0] - motion(at)[inside, 0]).max() <= bound + 1e-6
        assert bound < 0.06
