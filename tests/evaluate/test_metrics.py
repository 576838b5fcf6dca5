from __future__ import annotations

import numpy as np
import pytest

from expotion.beats import BeatTrack
from expotion.contracts import Scored, Truth
from expotion.evaluate import beat_metrics, level_metrics
from expotion.evaluate.level_metrics import curve_times_s, level_db, smoothed
from expotion.evaluate.registry import BUILT_IN

RATE_HZ = 32_000


def value_of(name, sound, clip):
    return BUILT_IN[name].build()(Scored(sound, RATE_HZ, clip))


def test_perfect_output(clicks, make_clip):
    sound, beats_s = clicks(96.0)
    clip = make_clip(sound, beats_s, tempo_bpm=96.0)
    assert value_of("beat_f1", sound, clip).value > 0.95
    assert value_of("tempo_error_bpm", sound, clip).value < 1.0
    assert value_of("tempo_within_4pct", sound, clip).value == 1.0


@pytest.fixture
def heard(monkeypatch):
    """Gives the output these beats and this tempo, whatever it sounds like."""

    def hear(beats_s, tempo_bpm):
        track = BeatTrack(np.asarray(beats_s, dtype=np.float64), tempo_bpm)
        monkeypatch.setattr(beat_metrics, "beats_of", lambda samples, rate_hz: track)

    return hear


@pytest.mark.parametrize(
    ("late_s", "value"), [(0.0, 1.0), (0.0695, 1.0), (0.0705, 0.0), (-0.0695, 1.0), (-0.0705, 0.0)]
)
def test_a_beat_counts_within_70_ms(heard, make_clip, late_s, value):
    beats_s = 1.0 + 0.6 * np.arange(10)
    heard(beats_s + late_s, 100.0)
    sound = np.zeros(8 * RATE_HZ, np.float32)
    assert value_of("beat_f1", sound, make_clip(sound, beats_s, tempo_bpm=100.0)).value == value


@pytest.mark.parametrize(
    ("tempo_bpm", "value"), [(103.9, 1.0), (104.1, 0.0), (96.1, 1.0), (95.9, 0.0), (200.0, 0.0)]
)
def test_a_tempo_counts_within_4_per_cent(heard, make_clip, tempo_bpm, value):
    beats_s = 1.0 + 0.6 * np.arange(10)
    heard(beats_s, tempo_bpm)
    sound = np.zeros(8 * RATE_HZ, np.float32)
    assert value_of("tempo_within_4pct", sound, make_clip(sound, beats_s, tempo_bpm=100.0)).value == value


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


def test_the_first_and_the_last_point_of_a_curve_count():
    """A ramp from 0 to 1: windows cut at the ends are the means of 26 points, 0, 0.01, .. 0.25 from the end."""
    times_s = np.array([0.0, 1.0])
    assert smoothed(times_s, times_s, times_s) == pytest.approx([0.125, 0.875], abs=1e-9)


def test_a_curve_is_read_within_half_a_second_only():
    """Away from a curve that is 1 at 1 s and 2 at 2 s, its ends are held."""
    times_s = np.array([1.0, 2.0])
    assert smoothed(times_s, times_s, np.array([0.0, 3.0])).tolist() == [1.0, 2.0]


def test_level_counts_the_first_sample_and_nothing_outside():
    """A single 1 in 100 samples at 100 Hz: a window of 25 samples at 0 s, of none before the sound."""
    samples = np.zeros(100, np.float32)
    samples[0] = 1.0
    found = level_db(samples, 100, np.array([-1.0, 0.0, 0.5, 3.0]))
    assert found == pytest.approx([-80.0, 10 * np.log10(1 / 25), -80.0, -80.0])


def test_intensity_is_held_against_the_level_up_to_its_last_time(make_clip):
    """Half a second is six points, just enough; a curve that ends a quarter of a second earlier is not."""
    rising = (np.linspace(0.01, 0.5, RATE_HZ) * np.sign(np.sin(np.arange(RATE_HZ)))).astype(np.float32)
    for last_s, enough in ((0.5, True), (0.25, False)):
        clip = make_clip(rising, np.zeros(0))
        clip.truth = Truth(np.zeros(0), np.array([0.0, 0.1, last_s]), np.array([0.0, 0.2, 1.0]), None)
        score = BUILT_IN["intensity_correlation"].build()(Scored(rising, RATE_HZ, clip))
        assert (score.value is not None) == enough
        assert enough == (score.value is not None and score.value > 0.9)


@pytest.mark.parametrize(("swing_db", "wanted"), [(0.001, 1.0), (0.000999, 0.0)])
def test_a_level_that_varies_by_a_thousandth_of_a_decibel_is_not_constant(make_clip, monkeypatch, swing_db, wanted):
    """Up and down by the limit around 0 dB: exactly the limit as its standard deviation."""
    curve = np.tile([1.0, -1.0], 41)
    monkeypatch.setattr(level_metrics, "smoothed", lambda times_s, values, at_s: curve[: len(at_s) // 2 * 2])
    monkeypatch.setattr(level_metrics, "level_db", lambda *_: swing_db * curve[:80])
    sound = np.zeros(8 * RATE_HZ, np.float32)
    clip = make_clip(sound, np.zeros(0), intensity=np.zeros(401))
    assert np.std(0.001 * curve[:80]) == level_metrics.CONSTANT_DB
    assert value_of("intensity_correlation", sound, clip).value == pytest.approx(wanted)


def test_limits_of_usable_sound_are_themselves_usable(make_clip):
    """Exactly a tenth as the mean (four of five samples are an eighth), and exactly 1 % of the samples clipped."""
    offset = np.tile(np.array([0.125, 0.125, 0.125, 0.125, 0.0], np.float32), RATE_HZ // 5)
    assert float(offset.mean(dtype=np.float64)) == 0.1
    assert value_of("level_sane", offset, make_clip(offset)).value == 1.0
    higher = offset + np.float32(0.001)
    assert value_of("level_sane", higher, make_clip(higher)).value == 0.0
    clipped = np.tile(np.array([0.5, -0.5], np.float32), RATE_HZ // 2)
    clipped[::100] = 1.0
    assert value_of("level_sane", clipped, make_clip(clipped)).value == 1.0
    clipped[50] = -1.0
    assert value_of("level_sane", clipped, make_clip(clipped)).value == 0.0
    silence = np.zeros(RATE_HZ, np.float32)
    assert value_of("level_sane", silence, make_clip(silence)).value == 0.0
