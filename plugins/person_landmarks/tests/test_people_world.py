"""The people's world is not degenerate: true landmarks hold the marks of who beats, and no beat of others."""

from __future__ import annotations

import numpy as np
import pytest

from expotion_conductor.clip import ConductorClip
from expotion_conductor.people.cast import people_plan
from expotion_conductor.people.habits import Role
from expotion_conductor.plan import DEVELOPMENT_SEEDS
from expotion_person_landmarks.beat import movement_beat
from expotion_person_landmarks.measure import correlation, energy_db, true_movement

SEED = DEVELOPMENT_SEEDS + 2000
S_LONG = 8.0


@pytest.mark.parametrize("number", [2, 7, 23])
def test_marks_are_where_true_landmarks_stop_falling(number: int) -> None:
    """A clap, a sway, and a violin then a guitar."""
    clip = ConductorClip(people_plan(SEED + number, S_LONG, role="beats", change="as drawn"))
    truth = clip.truth
    found = movement_beat(true_movement(truth, S_LONG))
    assert found.has_beat and truth.ictus_s is not None
    import mir_eval.beat

    assert mir_eval.beat.f_measure(truth.ictus_s, found.beats_s, 0.07) > 0.9
    assert truth.events_s is not None
    np.testing.assert_array_equal(truth.events_s["movement"], truth.ictus_s)


@pytest.mark.parametrize("role", ["phrases", "free", "still"])
def test_who_does_not_beat_has_no_beat(role: Role) -> None:
    clip = ConductorClip(people_plan(SEED, S_LONG, role=role, change="as drawn"))
    assert not movement_beat(true_movement(clip.truth, S_LONG)).has_beat
    assert clip.truth.ictus_s is not None and len(clip.truth.ictus_s) == 0


def test_movement_is_stronger_where_arousal_is_higher() -> None:
    found = []
    for seed in range(SEED, SEED + 4):
        truth = ConductorClip(people_plan(seed, S_LONG, role="beats", change="as drawn")).truth
        arousal = np.interp(np.arange(0.0, S_LONG, 0.1), truth.intensity_times_s, truth.intensity)
        found.append(correlation(energy_db(true_movement(truth, S_LONG)), arousal) or 0.0)
    assert np.mean(found) > 0.3
