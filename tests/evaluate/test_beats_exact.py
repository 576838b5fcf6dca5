"""What mutants showed that the wider tests of beats leave open: lengths and places, to the frame."""

import numpy as np

from expotion.evaluate import beats


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
