"""Strengths over time, as typed."""

from __future__ import annotations

import numpy as np
import pytest

from expotion.errors import ExpotionError
from expotion.music.schedule import Schedule


def test_a_number_is_constant() -> None:
    assert Schedule.of("0.7").at(np.array([0.0, 9.0])).tolist() == pytest.approx([0.7, 0.7])
    assert str(Schedule.of(0.5)) == "0.5"
    assert Schedule.of(0).is_zero


def test_points_are_joined_and_held_outside() -> None:
    schedule = Schedule.of("1:1.0,5:0.2")
    assert schedule.at(np.array([0.0, 1.0, 3.0, 5.0, 9.0])).tolist() == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])
    assert Schedule.of(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("loud", "a number of at least 0"),
        ("-1", "at least 0"),
        ("nan", "finite"),
        ("5:1,2:0", "go forwards"),
        ("0:1,0:0", "go forwards"),
        ("-1:1", "go forwards from 0"),
        ("0:1,", "SECONDS:VALUE"),
    ],
)
def test_what_is_wrong_is_said(text: str, wanted: str) -> None:
    with pytest.raises(ExpotionError, match=wanted) as caught:
        Schedule.of(text, "--strength motion")
    assert caught.value.problems[0].where == "--strength motion"
