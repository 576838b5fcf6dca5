"""Conductors who change their tempo or stop: beats, hand, sound, and that other clips are what they were."""

from __future__ import annotations

import numpy as np
import pytest

from expotion_conductor.clip import ConductorClip
from expotion_conductor.plan import GRID_S, TEMPO_RANGE_BPM, TEST_SEEDS, make_plan
from expotion_conductor.probes import STEP, stop, tempo_step
from expotion_conductor.source import ConductorOptions, ConductorSource


def turns_s(clip: ConductorClip, times_s: np.ndarray) -> np.ndarray:
    """Where the beating hand turns upwards."""
    height = -clip.figure.joints(times_s)[clip.figure.baton_wrist][:, 1]
    velocity = np.diff(height)
    return times_s[1:-1][(velocity[:-1] < 0) & (velocity[1:] >= 0)]


@pytest.mark.parametrize("seed", [TEST_SEEDS, TEST_SEEDS + 1, TEST_SEEDS + 2])
def test_the_tempo_steps_by_a_third_and_the_hand_with_it(seed: int) -> None:
    plan = make_plan(seed)
    clip = ConductorClip(tempo_step(plan))
    assert clip.truth is not None and clip.truth.tempo_bpm is None
    periods_s = np.diff(clip.truth.beats_s)
    assert periods_s[0] == pytest.approx(plan.beat_period_s)
    factor = plan.beat_period_s / periods_s[-1]
    assert max(factor, 1 / factor) == pytest.approx(STEP, rel=GRID_S / periods_s.min())
    assert TEMPO_RANGE_BPM[0] * 0.95 <= 60 / periods_s[-1] <= TEMPO_RANGE_BPM[1] * 1.05
    late = clip.truth.beats_s[1:][np.abs(periods_s - periods_s[-1]) < 1e-9]
    assert 4.0 < late[0] - periods_s[-1] < 6.1, "in the middle"
    turned = turns_s(clip, np.arange(-0.1, 10.1, 0.002))
    assert all(np.abs(turned - beat_s).min() < 0.02 for beat_s in clip.truth.beats_s)
    assert len(turned) <= len(clip.truth.beats_s) + 2


def test_the_hand_rests_from_the_last_beat_before_2_s_and_the_face_goes_on() -> None:
    clip, whole = ConductorClip(stop(make_plan(TEST_SEEDS))), ConductorClip(make_plan(TEST_SEEDS))
    assert clip.truth is not None and 0 < clip.truth.beats_s[-1] < 2.0
    hand = clip.figure.pose(np.array([clip.truth.beats_s[-1] + 0.2, 5.0, 9.0])).wrist[clip.figure.baton_side]
    assert np.abs(np.diff(hand[:, 0])).max() < 0.03, "what is left is the size that the intensity gives"
    assert len(turns_s(clip, np.arange(-0.1, 1.9, 0.002))) >= len(clip.truth.beats_s) - 1
    at_s = np.array([5.0])
    assert clip.figure.pose(at_s).mouth == whole.figure.pose(at_s).mouth
    quiet, loud = (np.abs(one.audio(32_000)[5 * 32_000 :]).max() for one in (clip, whole))
    assert quiet < 1e-3 < loud


def test_probes_have_names_and_hashes_of_their_own_and_other_clips_keep_theirs() -> None:
    source = ConductorSource(ConductorOptions(test_clips=1))
    probes = source.probes(2)
    assert {name: [clip.id for clip in clips] for name, clips in probes.items()} == {
        "tempo_step": ["conductor-4000000-tempo_step", "conductor-4000001-tempo_step"],
        "stop_after_2s": ["conductor-4000000-stop", "conductor-4000001-stop"],
    }
    assert source.probes(0) == {"tempo_step": [], "stop_after_2s": []}
    (plain,) = source.clips("test")
    assert len({plain.content_hash, *(clips[0].content_hash for clips in probes.values())}) == 3
    assert plain.content_hash == "22443ec33675b129f85c0b62a895a48f92f7945efff9de8c63172d40d614ec2a"
