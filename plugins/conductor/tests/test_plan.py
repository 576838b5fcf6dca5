import numpy as np
import pytest

from expotion_conductor.plan import GRID_S, MOODS, TEMPO_RANGE_BPM, TEST_SEEDS, TIMBRES, make_plan

SEEDS = range(TEST_SEEDS + 900_000, TEST_SEEDS + 900_100)


def test_a_plan_is_a_function_of_its_seed() -> None:
    one, same, other = make_plan(7), make_plan(7), make_plan(8)
    assert one.caption == same.caption and one.tempo_bpm == same.tempo_bpm
    np.testing.assert_array_equal(one.beats_s, same.beats_s)
    np.testing.assert_array_equal(one.intensity, same.intensity)
    assert not np.array_equal(one.intensity, other.intensity)


def test_a_longer_plan_begins_with_the_shorter_one() -> None:
    short, long = make_plan(11, 6.0), make_plan(11, 15.0)
    np.testing.assert_array_equal(long.intensity[: len(short.intensity)], short.intensity)
    np.testing.assert_array_equal(long.beats_s[: len(short.beats_s)], short.beats_s)
    assert long.tempo_bpm == short.tempo_bpm and long.caption == short.caption


def test_beats_are_even_within_the_clip_and_on_the_grid() -> None:
    for seed in SEEDS:
        plan = make_plan(seed)
        assert TEMPO_RANGE_BPM[0] <= plan.tempo_bpm <= TEMPO_RANGE_BPM[1]
        assert 0.0 <= plan.beats_s[0] < plan.beat_period_s and plan.beats_s[-1] < plan.duration_s
        assert plan.beats_s[-1] + plan.beat_period_s >= plan.duration_s - 1e-9
        np.testing.assert_allclose(np.diff(plan.beats_s), 60.0 / plan.tempo_bpm, atol=1e-9)
        frames = plan.beats_s / GRID_S
        np.testing.assert_allclose(frames, np.round(frames), atol=1e-6)
        assert plan.beats_per_bar in (3, 4)
        np.testing.assert_array_equal(np.diff(plan.beat_in_bar) % plan.beats_per_bar, 1)


def test_intensity_stays_in_range_and_changes_often() -> None:
    for seed in SEEDS:
        plan = make_plan(seed)
        assert len(plan.intensity) == len(plan.intensity_times_s) == 501
        assert plan.intensity.min() >= 0.0 and plan.intensity.max() <= 1.0
        assert np.ptp(plan.intensity) >= 0.3
        assert plan.intensity.std() > 0.08
    at = plan.intensity_at(np.array([0.0, 0.01, 99.0]))
    assert at[0] == plan.intensity[0] and at[2] == plan.intensity[-1]
    assert at[1] == pytest.approx(plan.intensity[:2].mean())


def test_captions_name_timbre_and_mood_and_nothing_else() -> None:
    told = ("tempo", "bpm", "fast", "slow", "loud", "soft", "quiet", "crescendo", "intens", "beat")
    plans = [make_plan(seed) for seed in SEEDS]
    for plan in plans:
        assert plan.timbre in plan.caption and plan.mood in plan.caption
        assert not any(word in plan.caption for word in told)
    assert {plan.timbre for plan in plans} == set(TIMBRES)
    assert {plan.mood for plan in plans} == set(MOODS)
    assert len({plan.caption for plan in plans}) > 60


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_length_is_refused(duration_s: float) -> None:
    with pytest.raises(ValueError, match="duration_s must be positive"):
        make_plan(1, duration_s)


def test_a_clip_shorter_than_a_beat_may_have_no_beat() -> None:
    lengths = [len(make_plan(seed, 0.1).beats_s) for seed in range(40)]
    assert min(lengths) == 0 and max(lengths) == 1
