"""Movement events and the movement's beat, on true landmarks of rendered people and on paths written out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from rendered_people import BEATING, NOT_BEATING, RenderedPerson, make_script, true_landmarks

from expotion.beats import Follower
from expotion_person_landmarks.beat import CHANNELS, beat_features, causal_movement_beat, movement_beat
from expotion_person_landmarks.events import alignment, chance_of_regularity, movement
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_SHOULDER, RIGHT_WRIST
from expotion_person_landmarks.measure import correlation, energy_db, level_db


def moves_of(kind="nods", seed=7_000_001, noise=0.01, duration_s=10.0, fps=25.0):
    clip = RenderedPerson(make_script(kind, seed, duration_s), fps=fps)
    found = true_landmarks(clip, noise=noise, lost=0.2)
    return clip.script, movement(found.points, found.times_s, duration_s)


def dips(beats_s, duration_s=10.0, fps=30.0, scale=1.0):
    """A wrist that goes down to each beat and stops; shoulders 100 pixels apart, times `scale`."""
    times_s = np.arange(int(duration_s * fps)) / fps
    points = np.zeros((len(times_s), 33, 3))
    points[:, [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST], 2] = 1.0
    points[:, LEFT_SHOULDER, 0], points[:, RIGHT_SHOULDER, 0] = 100.0, 0.0
    points[:, LEFT_WRIST, 1] = 40 * np.exp(-0.5 * ((times_s[:, None] - beats_s) / 0.08) ** 2).sum(axis=1)
    points[..., :2] *= scale
    return points, times_s


def test_events_are_where_a_hand_is_stopped_whatever_the_size_of_the_picture():
    beats_s = np.array([1.0, 1.7, 2.9, 3.5, 5.1])
    near, far = (movement(*dips(beats_s, 7.0, scale=scale), 7.0) for scale in (1.0, 0.2))
    assert len(near.events_s) == len(beats_s)
    assert np.abs(near.events_s - beats_s).max() < 0.05
    np.testing.assert_allclose(near.events_s, far.events_s)
    np.testing.assert_allclose(near.strength, far.strength)


@pytest.mark.parametrize("fps", [15.0, 25.0])
def test_events_are_the_same_at_other_frame_rates(fps):
    beats_s = np.arange(0.8, 6.5, 0.7)
    whole = movement(*dips(beats_s, 7.0, fps=30.0), 7.0).events_s
    fewer = movement(*dips(beats_s, 7.0, fps=fps), 7.0).events_s
    assert np.abs(whole[:, None] - fewer[None, :]).min(axis=1).max() <= 0.02


def test_a_hand_that_is_not_seen_and_one_that_is_stopped_upwards_make_no_events():
    points, times_s = dips(np.array([1.0, 2.0, 3.0]), 4.0)
    hidden = points.copy()
    hidden[:, LEFT_WRIST, 2] = 0.1
    assert len(movement(hidden, times_s, 4.0).events_s) == 0
    upwards = points.copy()
    upwards[:, LEFT_WRIST, 1] = -upwards[:, LEFT_WRIST, 1]
    events_s = movement(upwards, times_s, 4.0).events_s
    assert not len(events_s) or np.abs(events_s[:, None] - [1.0, 2.0, 3.0]).min() > 0.05
    nobody = movement(np.zeros((0, 33, 3)), np.zeros(0), 4.0)
    assert not len(nobody.events_s) and not nobody.known.any() and chance_of_regularity(nobody) == 1.0
    assert not movement_beat(nobody).has_beat


def test_the_beat_of_people_is_followed_and_said_to_be_there():
    import mir_eval.beat

    for kind in BEATING:
        script, moves = moves_of(kind)
        found = movement_beat(moves)
        assert found.has_beat
        assert mir_eval.beat.f_measure(script.beats_s, found.beats_s, 0.07) > 0.85


def test_people_who_do_not_beat_are_said_not_to():
    said = [
        movement_beat(moves_of(kind, seed)[1]).has_beat for kind in NOT_BEATING for seed in (7_000_301, 7_000_302)
    ]
    assert sum(said) <= 1


def test_random_orders_tell_a_metronome_from_chance():
    steady = movement(*dips(np.arange(0.5, 9.6, 0.6)), 10.0)
    assert chance_of_regularity(steady) < 0.01
    rng = np.random.default_rng(2)
    assert chance_of_regularity(movement(*dips(np.cumsum(rng.uniform(0.35, 1.4, 10))), 10.0)) > 0.05


def test_what_is_told_live_does_not_know_what_comes(monkeypatch):
    """A quarter of a second of delay covers the frames that braking needs."""
    monkeypatch.setattr(sys.modules[Follower.__module__], "_EVERY", 100)  # a search a second is enough here
    points, times_s = dips(np.arange(0.5, 9.9, 0.6))
    cut = times_s <= 6.0
    whole = movement(points, times_s, 10.0)
    until = movement(points[cut], times_s[cut], 6.0)
    at_s = np.arange(3.0, 5.9, 0.1)
    told, _ = beat_features(whole, at_s, causal=True)
    early, _ = beat_features(until, at_s, causal=True)
    np.testing.assert_allclose(told, early, atol=1e-4)
    found = causal_movement_beat(whole)
    assert np.abs(found.beats_s[found.beats_s > 4][:, None] - np.arange(0.5, 9.9, 0.6)).min(axis=1).max() < 0.07
    assert told.shape == (len(at_s), len(CHANNELS))


def test_alignment_by_hand():
    assert alignment(np.array([1.0, 2.0]), np.array([1.0, 2.05])) == pytest.approx((1 + np.exp(-0.5)) / 2)
    assert alignment(np.zeros(0), np.ones(1)) is None
    assert alignment(np.ones(1), np.zeros(0)) == 0.0


def test_level_that_rises_with_movement_correlates_with_it():
    beats_s = np.arange(4.0, 8.0, 0.5)
    moves = movement(*dips(beats_s, 8.0), 8.0)
    noise = np.random.default_rng(0).normal(size=8 * 32_000).astype(np.float32)
    louder = noise * np.where(np.arange(len(noise)) < 3.5 * 32_000, 0.01, 0.1).astype(np.float32)
    value = correlation(energy_db(moves), level_db(louder, 32_000))
    assert value is not None and value > 0.4
    assert correlation(energy_db(moves), np.zeros(80)) is None


def test_events_import_nothing_of_the_encoders():
    code = (
        "import sys, expotion_person_landmarks.events; "
        "print(sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith('expotion_person_landmarks.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['events', 'landmarks', 'smoothing']"
