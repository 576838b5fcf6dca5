"""Beats in hand-worked cases, to the frame: what the wider tests of beats leave open."""

import numpy as np
import pytest

from expotion.evaluate import beats


def clicks(n: int) -> np.ndarray:
    samples = np.zeros(n, np.float32)
    samples[8000::8000] = 0.9
    return samples


def pulses(*frames: int, n: int = 600) -> np.ndarray:
    """Onset strength that is 1 at some frames; at 120 BPM a beat is 50 frames long."""
    strength = np.zeros(n)
    strength[list(frames)] = 1.0
    return strength


def test_onset_strength_has_a_row_per_hop_and_one_more() -> None:
    strength = beats.onset_strength(clicks(48_000))
    assert strength.shape == (1 + 48_000 // 320,)


def test_a_sound_of_one_second_is_long_enough_and_a_shorter_one_is_not() -> None:
    rate_hz = beats.TRACKER_RATE_HZ
    assert beats.track_beats(clicks(rate_hz), rate_hz) is not beats.NO_BEATS
    assert beats.track_beats(clicks(rate_hz - 1), rate_hz) is beats.NO_BEATS


def test_a_memo_keeps_what_was_asked_for_last() -> None:
    made: list[str] = []
    memo = beats.Memo[str](2)

    def computed(key: str) -> str:
        made.append(key)
        return key.upper()

    for key in "abacab":
        assert memo.get(key, lambda key=key: computed(key)) == key.upper()  # type: ignore[misc]
    assert made == ["a", "b", "c", "b"]


def test_a_sound_that_swells_has_beats_however_soft_its_onsets_are() -> None:
    """Noise that grows and fades by a third twice a second: onset strength never rises by 1."""
    time_s = np.arange(6 * beats.TRACKER_RATE_HZ) / beats.TRACKER_RATE_HZ
    noise = np.random.default_rng(0).normal(size=len(time_s))
    swelling = (0.1 * noise * (1 + 0.3 * np.sin(2 * np.pi * 2 * time_s))).astype(np.float32)
    assert 0 < np.ptp(beats.onset_strength(swelling)) < 1
    assert len(beats.track_beats(swelling, beats.TRACKER_RATE_HZ).beats_s) > 0


def test_beats_go_back_to_the_very_first_frame() -> None:
    wanted = list(range(0, 600, 50))
    assert beats.best_beats(pulses(*range(0, 400, 50)), 120.0).tolist() == wanted
    later = [10 + frame for frame in wanted]
    assert beats.best_beats(pulses(*range(10, 400, 50)), 120.0).tolist() == later


def test_a_rise_up_to_the_very_last_frame_is_no_beat_yet() -> None:
    """A peak has something after it; the strength has as many frames as it was given, and none more."""
    assert beats.best_beats(pulses(*range(49, 600, 50)), 120.0).tolist() == list(range(49, 550, 50))


@pytest.mark.parametrize(("level", "audible"), [(0.012, True), (0.008, False)])
def test_what_is_below_a_hundredth_of_the_loudest_is_before_the_first_sound(level: float, audible: bool) -> None:
    strength = pulses(*range(200, 600, 50))
    strength[[100, 150]] = level
    assert (100.0 in beats.best_beats(strength, 120.0)) == audible


def test_onsets_within_a_thirty_second_of_a_beat_count_together() -> None:
    """Around 350, two of 0.65 at 354 and 356 are 2 * 0.65 exp(-(32 / 50)^2 / 2) = 1.06, more than 1 at 345."""
    strength = pulses(*range(0, 350, 50), 345, 400)
    strength[[354, 356]] = 0.65
    assert beats.best_beats(strength, 120.0).tolist()[6:9] == [300.0, 355.0, 400.0]
    strength[[354, 356]] = 0.60  # 0.98
    assert beats.best_beats(strength, 120.0).tolist()[6:9] == [300.0, 345.0, 400.0]


def test_the_longest_lag_that_is_known_counts() -> None:
    """100 frames have lags up to 7/8 of that, 0 to 86; two onsets 86 frames apart repeat with just the last."""
    strength = pulses(5, 91, n=100)
    assert len(beats._autocorrelation(strength)) == 87
    assert beats.choose_tempo_bpm(strength, 100.0) == pytest.approx(60 * 100 / 86, rel=0.005)


def test_soft_beats_between_loud_ones_count_when_they_are_nearly_half_as_loud() -> None:
    """Loud every 72 frames: 83 BPM; with softer ones between them 167."""
    for soft, wanted_bpm in ((0.35, 60 * 100 / 72), (0.45, 60 * 100 / 36)):
        strength = pulses(*range(7, 1000, 72), n=1000)
        strength[7 + 36 :: 72] = soft
        assert beats.choose_tempo_bpm(strength, 100.0) == pytest.approx(wanted_bpm, rel=0.005)


def test_autocorrelation_is_centred_and_unbiased() -> None:
    """(1, -1, 1, -1, ..) repeats with itself at each even lag, with its opposite at each odd one."""
    strength = 3.0 + np.tile([1.0, -1.0], 8)
    assert beats._autocorrelation(strength) == pytest.approx(np.tile([1.0, -1.0], 7))


def test_mel_bands_are_evenly_spaced_from_30_hz_to_10_khz() -> None:
    """In mel = log(1 + f / 700), the 13th, 26th, .. of 64 bands stand at a fifth, two fifths, .. of the way."""
    bands = beats._mel_bands()
    assert bands.shape == (64, 513)
    assert bands.sum(axis=1) == pytest.approx(1.0)
    loudest_hz = bands.argmax(axis=1) * 31.25
    for fifths in (1, 2, 3, 4):
        wanted_hz = 700 * ((1 + 30 / 700) ** (1 - fifths / 5) * (1 + 10_000 / 700) ** (fifths / 5) - 1)
        assert abs(loudest_hz[13 * fifths - 1] - wanted_hz) <= 31.25 / 2
    heard_hz = np.flatnonzero(bands.any(axis=0)) * 31.25
    assert heard_hz[[0, -1]].tolist() == [31.25, 9968.75]
