"""The tracker against its equations written out, and where it must say that there is no beat."""

from __future__ import annotations

import sys
from math import log, sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.beats import LEAST_CERTAINTY, Follower, follow

PERIODS = range(32, 110)
"""Frames at 100 Hz: 190 to 55 beats per minute."""


def bumps(times_s: NDArray[np.float64], duration_s: float = 10.0, heights: float | NDArray[np.float64] = 1.0):
    """An activation [n] at 100 Hz with a bell of 40 ms at each time."""
    at_s = np.arange(round(duration_s * 100)) / 100
    return (heights * np.exp(-0.5 * ((at_s[:, None] - times_s[None, :]) / 0.04) ** 2)).sum(axis=1)


def literal(activation: NDArray[np.float64]) -> tuple[list[int], float]:
    """Frames of the best path and its gain: the docstring of follow.py, one pair of beat and period at a time."""
    level = activation**0.7
    o = (level - level.mean()) / level.std()
    n = len(o)
    total = np.zeros((n, PERIODS.stop))
    before: dict[tuple[int, int], int] = {}
    logs = np.log(np.array(PERIODS))
    for t in range(n):
        for p in PERIODS:
            total[t, p] = sqrt(p / 60) * o[t]
            if t - p >= 0:
                reached = total[t - p, PERIODS.start :] - 60 * (log(p) - logs) ** 2
                before[t, p] = PERIODS[int(reached.argmax())]
                total[t, p] += reached.max()
    t, p = max(((t, p) for t in range(n) for p in PERIODS if n - 1 - t < p), key=lambda pair: total[pair])
    gain, path = float(total[t, p]) / n, [t]
    while (t, p) in before:
        t, p = t - p, before[t, p]
        path.append(t)
    return path[::-1], gain


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_path_is_that_of_the_equations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    activation = rng.uniform(0.2, 1.0, 260) ** 3
    activation[rng.integers(0, 60) :: 55] += 0.6
    found = follow(activation)
    path, gain = literal(activation)
    assert (found.beats_s * 100).round().astype(int).tolist() == path
    assert found.overall == pytest.approx(1 / (1 + np.exp((0.0241 + 3.5 / 260 - gain) / 0.001)), rel=1e-6)


def test_phase_rises_from_beat_to_beat_and_goes_on_after_the_last() -> None:
    beats_s = np.arange(0.5, 9.0, 0.5)
    found = follow(bumps(beats_s))
    np.testing.assert_allclose(found.beats_s, beats_s)
    frame = np.arange(1000)
    np.testing.assert_allclose(found.phase[50:], frame[50:] % 50 / 50, atol=1e-9)
    np.testing.assert_allclose(found.tempo_bpm[50:], 120.0)
    np.testing.assert_allclose(found.phase[:50], frame[:50] / 50, atol=0.021)
    assert found.tempo_bpm[0] == pytest.approx(120.0, rel=0.021)
    assert found.has_beat


@pytest.mark.parametrize("tempo_bpm", [57.0, 80.0, 120.0, 170.0])
def test_soft_events_between_do_not_double_the_tempo(tempo_bpm: float) -> None:
    beats_s = np.arange(0.3, 12.0, 60 / tempo_bpm)
    soft_s = beats_s + 30 / tempo_bpm
    found = follow(bumps(beats_s, 12.0) + 0.15 * bumps(soft_s, 12.0))
    assert np.median(found.tempo_bpm) == pytest.approx(tempo_bpm, rel=0.02)


def test_a_tempo_that_changes_by_a_third_is_followed_all_the_way() -> None:
    period_s = np.interp(np.arange(24), [0, 6, 12, 18, 24], [0.5, 0.42, 0.58, 0.42, 0.5])
    beats_s = 0.2 + np.concatenate([[0.0], np.cumsum(period_s)])
    beats_s = beats_s[beats_s < 11.9]
    found = follow(bumps(beats_s, 12.0))
    assert len(found.beats_s) == len(beats_s)
    np.testing.assert_allclose(found.beats_s, beats_s, atol=0.02)
    assert found.tempo_bpm.min() < 108 and found.tempo_bpm.max() > 138


def random_intervals(seed: int) -> NDArray[np.float64]:
    """Events that nobody could tap to: seconds from one to the next between 0.3 and 1.5, any."""
    rng = np.random.default_rng(seed)
    return bumps(np.cumsum(rng.uniform(0.3, 1.5, 12)), heights=rng.lognormal(0, 0.3, 12))


def by_a_person(seed: int) -> NDArray[np.float64]:
    """Beats 30 ms off, one of eight missing, two events between."""
    rng = np.random.default_rng(seed)
    beats_s = np.arange(0.3, 10.0, rng.uniform(0.4, 0.8))
    hit_s = (beats_s + rng.normal(0, 0.03, len(beats_s)))[rng.random(len(beats_s)) > 1 / 8]
    return bumps(np.concatenate([hit_s, rng.uniform(0, 10, 2)]))


def test_random_intervals_have_no_beat_and_a_persons_have() -> None:
    without = [follow(random_intervals(seed)).has_beat for seed in range(10)]
    with_beat = [follow(by_a_person(seed)).has_beat for seed in range(10)]
    assert sum(without) <= 1
    assert sum(with_beat) >= 9


def test_certainty_is_told_for_the_eight_seconds_around() -> None:
    """A beat for ten seconds, then nothing that repeats: certain at first, not at last."""
    activation = np.concatenate([bumps(np.arange(0.2, 10.0, 0.5)), random_intervals(3)])
    found = follow(activation)
    assert found.certainty[:500].min() > 0.9
    assert found.certainty[1500:].max() < LEAST_CERTAINTY


@pytest.mark.parametrize("activation", [np.zeros(0), np.zeros(300), np.full(300, 0.7)], ids=["empty", "0", "even"])
def test_what_never_changes_has_no_beat(activation: NDArray[np.float64]) -> None:
    found = follow(activation)
    assert len(found.beats_s) == 0
    assert len(found.phase) == len(found.tempo_bpm) == len(found.certainty) == len(activation)
    assert found.overall == 0.0 and not found.certainty.any()


def test_beats_are_told_from_the_first_event_to_the_last() -> None:
    beats_s = np.arange(4.0, 8.1, 0.5)
    found = follow(bumps(beats_s, 12.0))
    np.testing.assert_allclose(found.beats_s, beats_s)


def test_a_beat_just_before_the_first_event_is_kept() -> None:
    """The first of many comes 60 ms late and is feeble: the beat stays where the others say."""
    events_s = np.arange(2.0, 9.9, 0.5)
    events_s[0] += 0.06
    heights = np.where(np.arange(len(events_s)) == 0, 0.2, 1.0)
    assert follow(bumps(events_s, heights=heights)).beats_s[0] == pytest.approx(2.0, abs=0.031)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search a second instead of four: what is told at its end is the same."""
    monkeypatch.setattr(sys.modules[Follower.__module__], "_EVERY", 100)


@pytest.mark.usefixtures("seldom")
def test_the_follower_foresees_a_steady_beat_and_is_certain_of_it() -> None:
    beats_s = np.arange(0.3, 12.0, 0.6)
    follower = Follower()
    told = np.array([follower.push(float(value)) for value in bumps(beats_s, 12.0)])
    late = told[500:]
    phase = (np.arange(500, 1200) / 100 - 0.3) / 0.6 % 1.0
    off = (late[:, 0] - phase + 0.5) % 1.0 - 0.5
    assert np.abs(off).max() * 0.6 < 0.05
    np.testing.assert_allclose(late[:, 1], 100.0, rtol=0.1)
    assert late[:, 2].min() > 0.9


@pytest.mark.usefixtures("seldom")
def test_the_follower_tells_the_same_whatever_comes_later() -> None:
    """Causal: what is told at a frame depends on what came until then; nothing is told in the first two seconds."""
    first, second = Follower(), Follower()
    one, other = by_a_person(1), by_a_person(1)
    other[600:] = 0.0
    told = [[follower.push(float(v)) for v in a] for follower, a in ((first, one), (second, other))]
    assert told[0][:600] == told[1][:600]
    assert told[0][650:] != told[1][650:]
    assert told[0][198] == (0.0, 0.0, 0.0) and told[0][300][1] > 0


@pytest.mark.usefixtures("seldom")
def test_the_follower_says_that_there_is_no_beat() -> None:
    uncertain = 0
    for seed in range(3):
        follower = Follower()
        told = [follower.push(float(value)) for value in random_intervals(seed)]
        uncertain += told[-1][2] < LEAST_CERTAINTY
    assert uncertain >= 2
    assert Follower().push(0.0)[2] < 0.01


@pytest.mark.usefixtures("seldom")
def test_the_follower_forgets_how_loud_it_once_was() -> None:
    """Nine seconds after a loud stretch the same beat at a twentieth is found again."""
    beats_s = np.arange(0.3, 15.0, 0.5)
    activation = bumps(beats_s, 15.0) * np.where(np.arange(1500) < 500, 20.0, 1.0)
    follower = Follower()
    told = np.array([follower.push(float(value)) for value in activation])
    assert told[-50:, 2].min() > 0.9
    assert np.median(told[-50:, 1]) == pytest.approx(120.0, rel=0.03)
