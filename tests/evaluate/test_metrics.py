from __future__ import annotations

import numpy as np
import pytest

from expotion.contracts import MetricSpec, Score, Scored
from expotion.errors import PluginError, RecipeError
from expotion.evaluate.level_metrics import curve_times_s, level_db, smoothed
from expotion.evaluate.registry import BUILT_IN, choose_metrics

RATE_HZ = 32_000


def value_of(name, sound, clip):
    return BUILT_IN[name].build()(Scored(sound, RATE_HZ, clip))


def test_perfect_output(clicks, make_clip):
    sound, beats_s = clicks(96.0)
    clip = make_clip(sound, beats_s, tempo_bpm=96.0)
    assert value_of("beat_f1", sound, clip).value > 0.95
    assert value_of("tempo_error_bpm", sound, clip).value < 1.0
    assert value_of("tempo_within_4pct", sound, clip).value == 1.0


def test_half_tempo_is_not_forgiven(clicks, make_clip):
    sound, _ = clicks(160.0)
    slow = 0.3 + 0.75 * np.arange(10)
    clip = make_clip(sound, slow, tempo_bpm=80.0)
    assert value_of("tempo_error_bpm", sound, clip).value == pytest.approx(80.0, abs=2.0)
    assert value_of("tempo_within_4pct", sound, clip).value == 0.0


def test_the_first_five_seconds_count(clicks, make_clip):
    sound, _ = clicks(100.0)
    late = 5.1 + 0.6 * np.arange(4)  # what mir_eval's own script would keep
    clip = make_clip(sound, np.concatenate([[1.0, 1.33], late]), tempo_bpm=100.0)
    assert value_of("beat_f1", sound, clip).value < 0.7


def test_clip_without_truth_is_held_against_its_own_sound(clicks, make_clip):
    sound, _ = clicks(110.0)
    other, _ = clicks(75.0, first_s=0.1)
    clip = make_clip(sound)
    assert value_of("beat_f1", sound, clip).value == 1.0
    assert value_of("tempo_within_4pct", sound, clip).value == 1.0
    assert value_of("beat_f1", other, clip).value < 0.6
    assert value_of("tempo_within_4pct", other, clip).value == 0.0
    correlation = value_of("intensity_correlation", sound, clip)
    assert correlation.value is None
    assert "no true intensity" in str(correlation.reason)


@pytest.mark.parametrize("name", ["beat_f1", "tempo_error_bpm", "tempo_within_4pct"])
def test_clip_with_nothing_to_hold_against(clicks, make_clip, name):
    sound, _ = clicks(110.0)
    score = value_of(name, sound, make_clip(None))
    assert score.value is None
    assert "neither" in str(score.reason)


def test_silence_gains_nothing(make_clip, clicks):
    _, beats_s = clicks(110.0)
    silence = np.zeros(8 * RATE_HZ, np.float32)
    clip = make_clip(silence, beats_s, intensity=np.linspace(0, 1, 401), tempo_bpm=110.0)
    assert value_of("beat_f1", silence, clip).value == 0.0
    assert value_of("tempo_within_4pct", silence, clip).value == 0.0
    assert value_of("intensity_correlation", silence, clip).value == 0.0
    error = value_of("tempo_error_bpm", silence, clip)
    assert error.value is None
    assert "too few beats" in str(error.reason)


def test_intensity_follows_level(make_clip):
    rng = np.random.default_rng(0)
    times_s = np.arange(8 * RATE_HZ) / RATE_HZ
    curve = 0.5 + 0.4 * np.sin(2 * np.pi * np.linspace(0, 8, 401) / 4)
    gain_db = -40 + 30 * np.interp(times_s, np.linspace(0, 8, 401), curve)
    sound = (rng.normal(size=len(times_s)) * 10 ** (gain_db / 20)).astype(np.float32)
    clip = make_clip(sound, np.zeros(0), intensity=curve)
    assert value_of("intensity_correlation", sound, clip).value > 0.99
    assert value_of("intensity_correlation", sound[::-1].copy(), clip).value < -0.9
    flat = make_clip(sound, np.zeros(0), intensity=np.full(401, 0.5))
    assert value_of("intensity_correlation", sound, flat).value is None


def test_level_of_a_sine():
    at_s = curve_times_s(2.0)
    assert at_s == pytest.approx(np.arange(21) / 10)
    sine = np.sin(2 * np.pi * 200 * np.arange(2 * RATE_HZ) / RATE_HZ).astype(np.float32)
    assert level_db(sine, RATE_HZ, at_s) == pytest.approx(-3.01, abs=0.02)
    assert level_db(np.zeros(RATE_HZ, np.float32), RATE_HZ, at_s) == pytest.approx(-80.0)


def test_smoothing_by_hand():
    times_s = np.array([0.0, 1.0, 1.0001, 2.0])
    step = np.array([0.0, 0.0, 1.0, 1.0])
    assert smoothed(times_s, step, np.array([0.0, 0.5, 1.0, 1.125, 2.0])) == pytest.approx(
        [0.0, 0.0, 0.5, 0.75, 1.0], abs=0.02
    )


def test_unknown_metrics_are_named_all_at_once():
    with pytest.raises(RecipeError) as caught:
        choose_metrics(["beat_f", "beat_f1", "loudnes"])
    assert [problem.where for problem in caught.value.problems] == [
        "evaluate.metrics[0]",
        "evaluate.metrics[2]",
    ]
    assert "did you mean 'beat_f1'" in str(caught.value)


def test_plugin_metrics_join_and_do_not_replace():
    extra = MetricSpec("brightness", "spectral centroid", lambda: lambda scored: Score(1.0), True, "Hz")
    assert [spec.name for spec in choose_metrics(["brightness", "beat_f1"], {"brightness": extra})] == [
        "brightness",
        "beat_f1",
    ]
    with pytest.raises(PluginError, match="beat_f1"):
        choose_metrics(["beat_f1"], {"beat_f1": extra})
