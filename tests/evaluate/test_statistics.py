from __future__ import annotations

import inspect

import numpy as np
import pytest

from expotion.evaluate.statistics import difference, estimate, mean_interval, wilson


def test_nothing_to_average():
    assert mean_interval([]).as_dict() == {"mean": None, "ci_low": None, "ci_high": None, "n": 0}


def test_one_clip_has_no_width():
    assert mean_interval([0.4]).as_dict() == {"mean": 0.4, "ci_low": 0.4, "ci_high": 0.4, "n": 1}


def test_interval_of_a_known_spread():
    values = np.random.default_rng(3).normal(10.0, 2.0, size=100)
    found = mean_interval(values.tolist(), seed=1)
    half = 1.96 * values.std() / 10  # normal theory for a mean of 100
    assert found.mean == pytest.approx(values.mean())
    assert found.ci_low == pytest.approx(values.mean() - half, abs=0.06)
    assert found.ci_high == pytest.approx(values.mean() + half, abs=0.06)


def test_seed_decides():
    values = np.random.default_rng(0).normal(size=24).tolist()
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)


def test_interval_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = mean_interval(rng.normal(size=24).tolist(), seed=trial, n_resamples=400)
        assert found.ci_low is not None and found.ci_high is not None
        covered += found.ci_low <= 0.0 <= found.ci_high
    assert 0.88 <= covered / 200 <= 0.99


def test_pairing_removes_what_clips_share():
    rng = np.random.default_rng(0)
    hardness = {f"clip{i}": float(rng.normal(0, 10)) for i in range(24)}
    better = {clip: value + 1.0 + 0.1 * rng.normal() for clip, value in hardness.items()}
    better["only here"] = 99.0
    found = difference([better], [hardness])
    assert found.n == 24
    assert found.ci_low is not None and 0.9 < found.ci_low < 1.0 + 1e-9
    apart = mean_interval(list(hardness.values()))
    assert apart.ci_high is not None and apart.ci_low is not None
    assert apart.ci_high - apart.ci_low > 5


def test_a_proportion_has_wilsons_interval():
    """Values from Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, and 1 of 29, to four places."""
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = mean_interval([1.0] * right + [0.0] * (n - right))
        assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    every = mean_interval([1.0] * 24)
    assert every.ci_high == 1.0 and every.ci_low == pytest.approx(0.862, abs=1e-3)


def test_few_skewed_clips_have_bcas_interval():
    """Against scipy's own BCa, of other draws; the percentile interval lies elsewhere."""
    from scipy.stats import bootstrap

    values = np.random.default_rng(8).exponential(size=12) ** 2
    found = mean_interval(values.tolist(), n_resamples=40_000)
    seed = "rng" if "rng" in inspect.signature(bootstrap).parameters else "random_state"  # scipy before 1.15
    options = {"method": "BCa", "n_resamples": 40_000, seed: np.random.default_rng(1)}
    theirs = bootstrap((values,), np.mean, **options).confidence_interval
    assert (found.ci_low, found.ci_high) == (
        pytest.approx(theirs.low, rel=0.02),
        pytest.approx(theirs.high, rel=0.02),
    )
    plain = bootstrap((values,), np.mean, **{**options, "method": "percentile"}).confidence_interval
    assert found.ci_high is not None and found.ci_high > 1.05 * plain.high


def test_differences_of_proportions_are_no_proportions():
    right, other = {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.0, "b": 0.0, "c": 1.0}
    found = difference([right], [other])
    assert found.mean == pytest.approx(2 / 3)
    assert found.ci_high == 1.0 and found.ci_low is not None and found.ci_low < 0.6


def test_a_proportion_over_several_seeds_is_never_narrower_than_wilsons_over_its_clips():
    always = {f"clip{i}": 1.0 for i in range(8)}
    found = estimate([always, always, always])
    assert (found.mean, found.ci_high, found.n, found.n_seeds) == (1.0, 1.0, 8, 3)
    assert found.ci_low == pytest.approx(wilson(1.0, 8)[0])
    seeds = [{f"clip{i}": float(i < share) for i in range(8)} for share in (0, 8)]
    assert estimate(seeds).ci_low == 0.0 and estimate(seeds).ci_high == 1.0, "what seeds differ by counts too"
    half = [{f"clip{i}": 0.5 + 0.01 * i for i in range(8)}] * 2
    assert estimate(half).ci_low > 0.5, "other values keep the bootstrap"
