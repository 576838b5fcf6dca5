"""A track at a lower rate than its encoder's."""

from __future__ import annotations

import numpy as np
import pytest

from expotion import timeline
from expotion.contracts import Encoder, EncoderSpec, Options, TimedFeatures
from expotion.features.smooth import sampled_at, smooth_track


class Quick(Encoder):
    """Ten values per second."""

    def __init__(self) -> None:
        self.options = Options()
        self.spec = EncoderSpec(
            "quick", "ten per second", frozenset(), lambda _: self, Options, lambda _: 1, lambda _: 10.0
        )

    def extract(self, clip: object) -> TimedFeatures:
        raise AssertionError("not asked for")


def track(n: int = 31) -> TimedFeatures:
    times_s = np.arange(n) / 10
    values = np.sin(2 * np.pi * 2.0 * times_s)[:, None].astype(np.float32)
    return TimedFeatures(values, times_s, np.ones(n, bool))


def test_values_are_those_at_the_lower_rate_and_the_end_is_kept() -> None:
    found = sampled_at(Quick(), track(), 2.5)
    assert found.times_s.tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.0])
    assert found.values[1, 0] == pytest.approx(track().values[4, 0])
    smoothed = smooth_track(Quick(), found, timeline.n_steps(3.0, 50.0), 50.0)
    assert smoothed.valid.all()


def test_what_is_faster_than_the_rate_is_lost() -> None:
    quick = Quick()
    whole = smooth_track(quick, track(), 150, 50.0).values
    slow = smooth_track(quick, sampled_at(quick, track(), 2.5), 150, 50.0).values
    assert np.abs(whole).max() > 0.9
    assert np.corrcoef(whole[:, 0], slow[:, 0])[0, 1] < 0.5


@pytest.mark.parametrize("rate_hz", [None, 10.0, 25.0])
def test_nothing_changes_without_a_lower_rate(rate_hz: float | None) -> None:
    before = track()
    assert sampled_at(Quick(), before, rate_hz) is before


def test_gaps_stay_gaps() -> None:
    before = track()
    valid = before.valid.copy()
    valid[10:22] = False
    found = sampled_at(Quick(), TimedFeatures(before.values, before.times_s, valid), 5.0)
    assert not found.valid[(found.times_s > 1.05) & (found.times_s < 1.95)].any()
    assert found.valid[found.times_s < 0.85].all()


def test_a_recipe_says_how_long_a_gap_is_bridged() -> None:
    valid = np.ones(31, bool)
    valid[11:15] = False  # nothing between 1.0 s and 1.5 s
    gappy = TimedFeatures(track().values, track().times_s, valid)
    quick = Quick()
    assert smooth_track(quick, gappy, 150, 50.0).valid.all()
    quick.max_gap_s = 0.2
    rows = smooth_track(quick, gappy, 150, 50.0).valid
    assert np.flatnonzero(~rows).tolist() == list(range(51, 75))
