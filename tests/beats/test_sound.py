from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from expotion.beats import fit_tempo_bpm, track_beats
from expotion_conductor.music import render_music
from expotion_conductor.plan import DEVELOPMENT_SEEDS, GRID_S, make_plan

RATE_HZ = 32_000


@pytest.mark.parametrize("tempo_bpm", [62.0, 90.0, 121.0, 178.0])
def test_tempo_has_no_favourite_octave(clicks, tempo_bpm):
    sound, beats_s = clicks(tempo_bpm)
    found = track_beats(sound, RATE_HZ)
    assert found.tempo_bpm == pytest.approx(tempo_bpm, rel=0.02)
    nearest_s = np.abs(found.beats_s[:, None] - beats_s[None, :]).min(axis=1)
    assert np.mean(nearest_s < 0.07) > 0.9


def test_another_sample_rate_gives_the_same_tempo(clicks):
    sound, _ = clicks(100.0)
    halved = sound.reshape(-1, 2).mean(axis=1).astype(np.float32)
    assert track_beats(halved, RATE_HZ // 2).tempo_bpm == pytest.approx(100.0, rel=0.02)


def test_music_of_the_conductor_world_is_tracked():
    """The floor that docs promise; the tracker's settings were chosen on other clips of these seeds."""
    from mir_eval.beat import f_measure

    scores, errors = [], []
    for seed in range(DEVELOPMENT_SEEDS + 400, DEVELOPMENT_SEEDS + 404):
        plan = make_plan(seed)
        found = track_beats(render_music(plan), RATE_HZ)
        scores.append(f_measure(plan.beats_s, found.beats_s, 0.07))
        assert found.tempo_bpm is not None
        assert found.certainty is not None and found.certainty > 0.95
        errors.append(abs(found.tempo_bpm / plan.tempo_bpm - 1))
    assert np.mean(scores) >= 0.98
    assert max(errors) < 0.04


def test_music_whose_tempo_changes_is_followed():
    """Between 15 % slower and 15 % faster and back, four to eight beats each way."""
    from mir_eval.beat import f_measure

    scores = []
    for seed in range(DEVELOPMENT_SEEDS + 400, DEVELOPMENT_SEEDS + 404):
        plan = make_plan(seed)
        rng = np.random.default_rng([seed, 77])
        ends = np.cumsum(rng.integers(4, 9, 12))
        number = np.arange(40)
        speed = 1 + 0.15 * np.interp(number, ends, np.resize([1.0, -1.0], 12))
        beats_s = plan.beats_s[0] + np.concatenate([[0.0], np.cumsum(plan.beat_period_s / speed)])
        beats_s = np.round(beats_s[beats_s < plan.duration_s] / GRID_S) * GRID_S
        in_bar = (plan.beat_in_bar[0] + np.arange(len(beats_s))) % plan.beats_per_bar
        changed = replace(plan, beats_s=beats_s, beat_in_bar=in_bar)
        found = track_beats(render_music(changed), RATE_HZ)
        scores.append(f_measure(beats_s, found.beats_s, 0.07))
        assert found.certainty is not None and found.certainty > 0.9
    assert np.mean(scores) >= 0.98
    assert min(scores) >= 0.9


def test_noise_has_no_beat_and_says_so():
    noise = 0.1 * np.random.default_rng(0).normal(size=8 * RATE_HZ).astype(np.float32)
    found = track_beats(noise, RATE_HZ)
    assert found.certainty is not None and found.certainty < 0.4
    assert len(found.beats_s) > 0  # the best guess is told all the same


def test_what_is_silent_at_first_and_at_last_has_no_beats_there(clicks):
    sound, beats_s = clicks(120.0, duration_s=5.0)
    silent = np.zeros(3 * RATE_HZ, np.float32)
    found = track_beats(np.concatenate([silent, sound, silent]), RATE_HZ)
    assert 3.0 + beats_s[0] - 0.06 <= found.beats_s[0] <= 3.0 + beats_s[0] + 0.06
    assert abs(found.beats_s[-1] - (3.0 + beats_s[-1])) <= 0.06


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0, np.float32),
        np.zeros(4 * RATE_HZ, np.float32),
        np.ones(100, np.float32),
        np.full(4 * RATE_HZ, np.nan, np.float32),
    ],
    ids=["empty", "silent", "three milliseconds", "not a number"],
)
def test_sound_without_beats(sound):
    found = track_beats(sound, RATE_HZ)
    assert len(found.beats_s) == 0
    assert found.tempo_bpm is None
    assert found.certainty == 0.0


def test_the_same_sound_is_tracked_once(clicks, monkeypatch):
    sound, _ = clicks(77.0)
    first = track_beats(sound, RATE_HZ)

    def never(*args: object) -> None:
        raise AssertionError("tracked again")

    monkeypatch.setattr("expotion.beats.sound._heard", never)
    assert track_beats(sound.copy(), RATE_HZ) is first


def test_tempo_is_fitted_through_all_beats():
    beats_s = 0.4 + 0.5 * np.arange(12)
    assert fit_tempo_bpm(beats_s) == pytest.approx(120.0)
    assert fit_tempo_bpm(np.delete(beats_s, 5)) == pytest.approx(120.0)  # one beat missing
    assert fit_tempo_bpm(beats_s[:2]) is None
    assert fit_tempo_bpm(np.zeros(4)) is None
