from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from expotion_verify.trainer import ReleasedSettings, released_learning_rate

SETTINGS = ReleasedSettings(epochs=4, steps_per_epoch=3, learning_rate=0.01, final_learning_rate=1e-4)


def test_learning_rates_by_hand():
    """w = 6 steps of warm-up from zero, then a cosine over 6 steps that starts again at the full rate."""
    rates = [released_learning_rate(step, SETTINGS) for step in range(12)]
    assert rates[0] == 0.0 and rates[3] == pytest.approx(0.005)
    assert rates[6] == rates[7] == pytest.approx(0.01)
    assert rates[10] == pytest.approx(1e-4 + 0.0099 / 2)
    assert rates[11] == pytest.approx(1e-4 + 0.0099 * (1 + math.cos(math.pi * 4 / 6)) / 2)
    assert min(rates[1:]) > 1e-4  # the minimum is never reached


def test_the_defaults_are_the_released_configuration():
    """20 epochs, two of them warm-up to 1e-2, down to 1e-4; AdamW's decay 0.02; gradients clipped to 0.1."""
    assert asdict(ReleasedSettings()) == {
        "epochs": 20,
        "steps_per_epoch": 1,
        "learning_rate": 0.01,
        "warmup_epochs": 2,
        "final_learning_rate": 0.0001,
        "weight_decay": 0.02,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "clip_norm": 0.1,
    }


def test_no_warm_up_and_no_epochs_left():
    assert released_learning_rate(0, ReleasedSettings(warmup_epochs=0)) == 0.01
    short = ReleasedSettings(epochs=2, steps_per_epoch=3)
    assert released_learning_rate(6, short) == 0.01
