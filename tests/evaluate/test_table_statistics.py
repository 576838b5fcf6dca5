"""Intervals over seeds and clips, paired differences, and their correction."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.evaluate.sets import SetScore, set_difference, set_estimate
from expotion.evaluate.statistics import corrected, difference, estimate, holm, mean_interval, sign_flip_p


def clips(values: list[float]) -> dict[str, float]:
    return {f"c{i}": value for i, value in enumerate(values)}


def test_one_seed_is_the_bootstrap_over_clips() -> None:
    values = np.random.default_rng(0).normal(3.0, 1.0, 40).tolist()
    ours, plain = estimate([clips(values)]), mean_interval(values)
    assert ours.mean == pytest.approx(plain.mean)
    assert (ours.n, ours.n_seeds) == (40, 1)
    assert ours.ci_low == pytest.approx(plain.ci_low, abs=0.05)
    assert ours.ci_high == pytest.approx(plain.ci_high, abs=0.05)


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0.0, 1.0, 50)
    equal = estimate([clips(base.tolist())] * 4)
    apart = estimate([clips((base + shift).tolist()) for shift in (-2.0, -1.0, 1.0, 2.0)])
    alone = estimate([clips(base.tolist())])

    def width(of: object) -> float:
        return float(of.ci_high - of.ci_low)  # type: ignore[attr-defined]

    assert width(equal) == pytest.approx(width(alone), rel=0.05)
    assert width(apart) > 3 * width(equal)
    assert apart.n_seeds == 4


def test_the_interval_holds_its_level_with_seeds_as_a_random_effect() -> None:
    """Clips and seeds drawn anew each time: a 95 % interval must hold the true mean in most of the draws."""
    rng = np.random.default_rng(2)
    held = 0
    for trial in range(120):
        by_clip = rng.normal(0, 1, 30)
        seeds = [clips((by_clip + rng.normal(0, 0.6) + rng.normal(0, 0.3, 30)).tolist()) for _ in range(8)]
        found = estimate(seeds, seed=trial, n_resamples=500)
        assert found.ci_low is not None and found.ci_high is not None
        held += found.ci_low <= 0.0 <= found.ci_high
    assert 0.86 <= held / 120 <= 0.99


def test_missing_values_count_where_they_are() -> None:
    found = estimate([{"a": 1.0, "b": 3.0}, {"a": 1.0}])
    assert found.mean == pytest.approx(5 / 3)
    assert (found.n, found.n_seeds) == (2, 2)
    nothing = estimate([{}, {}])
    assert (nothing.mean, nothing.n, nothing.n_seeds) == (None, 0, 0)
    assert estimate([]).mean is None


def test_a_paired_difference_equals_the_plain_one_and_knows_its_p() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(0, 5, 40)
    better = clips((base + 1.0 + rng.normal(0, 0.5, 40)).tolist())
    ours = difference([better], [clips(base.tolist())])
    plain = mean_interval([value - base[i] for i, value in enumerate(better.values())])
    assert ours.mean == pytest.approx(plain.mean)
    assert (ours.ci_low, ours.ci_high) == (plain.ci_low, plain.ci_high)
    assert ours.p is not None and ours.p < 0.001
    same = difference([clips(base.tolist())], [clips(base.tolist())])
    assert (same.mean, same.p) == (0.0, 1.0)


def test_a_difference_is_over_the_clips_that_both_have() -> None:
    found = difference([{"a": 2.0, "b": 9.0}], [{"a": 1.0, "z": 0.0}])
    assert (found.mean, found.n) == (1.0, 1)
    assert difference([{"a": 1.0}], [{"b": 1.0}]).mean is None


def test_p_values_of_no_difference_are_spread_evenly() -> None:
    rng = np.random.default_rng(4)
    small = 0
    for trial in range(100):
        sides = [clips(rng.normal(0, 1, 40).tolist()) for _ in range(2)]
        found = difference([sides[0]], [sides[1]], seed=trial, n_resamples=400)
        assert found.p is not None
        small += found.p < 0.1
    assert 3 <= small <= 22


def test_two_clips_prove_nothing_however_far_apart() -> None:
    found = difference([{"a": 100.0, "b": 101.0}], [{"a": 1.0, "b": 2.0}])
    assert found.ci_low is not None and found.ci_low > 90
    assert found.p == 0.5


def test_flipped_signs_are_exact_for_few_and_near_it_for_many() -> None:
    assert sign_flip_p(np.ones(5)) == pytest.approx(2 / 32)
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0
    rng = np.random.default_rng(6)
    values = rng.normal(0.3, 1.0, 12)
    exact = sign_flip_p(values)
    doubled = sign_flip_p(np.concatenate([values, rng.normal(0, 1e-9, 1)]))  # thirteen: drawn at random
    assert doubled == pytest.approx(exact, abs=0.03)


def test_holm_against_its_definition() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.9})
    assert adjusted == pytest.approx({"a": 0.04, "c": 0.09, "b": 0.09, "d": 0.9})
    assert holm({}) == {}
    assert max(holm({i: 0.6 for i in range(5)}).values()) == 1.0


def test_differences_are_corrected_for_their_number() -> None:
    one = difference([clips([1.0, 1.2, 0.9, 1.1, 1.0, 1.3, 0.8, 1.1])], [clips([0.0] * 8)])
    assert one.p == pytest.approx(2 / 2**8)
    assert {key: found.p_holm for key, found in corrected({"a": one, "b": one}).items()} == {
        "a": pytest.approx(4 / 2**8),
        "b": pytest.approx(4 / 2**8),
    }


def test_set_metrics_average_seeds_and_keep_the_jackknife() -> None:
    left = tuple(np.linspace(0.9, 1.1, 12).tolist())
    one = set_estimate([SetScore(1.0, 12, left)])
    two = set_estimate([SetScore(1.0, 12, left), SetScore(2.0, 12, tuple(1 + value for value in left))])
    assert one.mean == 1.0 and two.mean == 1.5 and two.n_seeds == 2
    assert one.ci_low is not None and two.ci_low is not None
    assert two.mean - two.ci_low > one.mean - one.ci_low  # seeds that differ
    assert set_estimate([SetScore(None, 0)]).mean is None


def test_the_interval_of_a_share_is_that_of_its_log_odds() -> None:
    left = tuple(np.linspace(-0.02, 0.02, 12).tolist())
    for value in (0.5, 0.98):
        plain, share = (
            set_estimate([SetScore(value, 12, tuple(value + one for one in left), share)])
            for share in (False, True)
        )
        assert plain.ci_high is not None and share.ci_low is not None and share.ci_high is not None
        half = (plain.ci_high - value) / (value * (1 - value))
        odds = value / (1 - value)
        assert share.ci_low / (1 - share.ci_low) == pytest.approx(odds * np.exp(-half))
        assert share.ci_high / (1 - share.ci_high) == pytest.approx(odds * np.exp(half))
    assert plain.ci_high > 1.0 > share.ci_high
    whole = set_estimate([SetScore(1.0, 12, (1.0,) * 12, share=True)])
    assert (whole.ci_low, whole.ci_high) == (1.0, 1.0)


def test_set_differences_leave_the_same_clips_out() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.05, 20)
    ours = SetScore(2.0, 20, tuple((2.0 + noise).tolist()))
    theirs = SetScore(1.0, 20, tuple((1.0 + noise).tolist()))
    paired = set_difference([ours], [theirs])
    assert paired.mean == 1.0
    assert paired.ci_low == pytest.approx(1.0) and paired.p == pytest.approx(0.0, abs=1e-9)
    shuffled = SetScore(1.0, 20, tuple((1.0 + rng.permutation(noise)).tolist()))
    wider = set_difference([ours], [shuffled])
    assert wider.ci_low is not None and wider.ci_low < 1.0
    assert set_difference([ours], []).mean is None
