"""The tones of the headphones check do over loudspeakers and headphones what they are made for."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.video.loudness import loudness_lufs
from expotion_study import headphones as check


def _levels(order: tuple[str, ...], mix: str) -> list[float]:
    """RMS of each of the three tones: `ears` apart, or added in the `air`."""
    sound = check.trial_sound(order).astype(np.float64)
    heard = sound.sum(axis=1) / 2 if mix == "air" else sound[:, 0]
    step = round((check.TONE_S + check.PAUSE_S) * check.RATE_HZ)
    begin, length = round(check.PAUSE_S / 2 * check.RATE_HZ), round(check.TONE_S * check.RATE_HZ)
    return [float(np.sqrt(np.mean(heard[begin + k * step :][:length] ** 2))) for k in range(3)]


@pytest.mark.parametrize("order", check.ORDERS)
def test_the_softest_tone_differs_between_ears_and_air(order: tuple[str, ...]) -> None:
    ears, air = _levels(order, "ears"), _levels(order, "air")
    assert int(np.argmin(ears)) == order.index("soft")
    assert int(np.argmin(air)) == order.index("anti")
    ratio_db = 20 * np.log10(ears[order.index("soft")] / ears[order.index("loud")])
    assert ratio_db == pytest.approx(-6.0, abs=0.01)
    assert ears[order.index("anti")] == pytest.approx(ears[order.index("loud")], rel=1e-6)
    assert air[order.index("anti")] < 1e-6


def test_every_order_comes_once_so_that_guessing_one_place_gets_a_third() -> None:
    assert len(set(check.ORDERS)) == check.N_TRIALS == 6
    softest = {str(number): order.index("soft") for number, order in enumerate(check.ORDERS)}
    assert [check.n_correct(softest, dict.fromkeys(softest, place)) for place in range(3)] == [2, 2, 2]
    assert check.n_correct(softest, softest) == 6
    assert check.n_correct(softest, {}) == 0
    by_loudspeaker = {str(number): order.index("anti") for number, order in enumerate(check.ORDERS)}
    assert check.n_correct(softest, by_loudspeaker) == 0


def test_tones_are_pure_and_do_not_click() -> None:
    sound = check.trial_sound(("loud", "soft", "anti"))[:, 0]
    assert np.abs(np.diff(sound)).max() < 1.1 * 2 * np.pi * check.TONE_HZ / check.RATE_HZ * check.LEVEL
    spectrum = np.abs(np.fft.rfft(sound))
    frequency_hz = np.fft.rfftfreq(len(sound), 1 / check.RATE_HZ)[int(spectrum.argmax())]
    assert frequency_hz == pytest.approx(200.0, abs=2.0)


def test_the_noise_to_set_the_volume_by_is_as_loud_as_the_music() -> None:
    found = loudness_lufs(check.calibration_sound(-27.0), check.RATE_HZ)
    assert found == pytest.approx(-27.0, abs=0.1)
