"""Beats in hand-worked cases, to the frame: what the wider tests of beats leave open."""

import numpy as np
import pytest

from expotion.beats import sound as beats


def clicks(n: int) -> np.ndarray:
    samples = np.zeros(n, np.float32)
    samples[8000::8000] = 0.9
    return samples


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
