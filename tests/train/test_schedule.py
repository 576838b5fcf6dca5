"""The learning rate, worked by hand."""

from __future__ import annotations

import pytest

from expotion.train.loop import warmup_cosine


def test_warmup_is_linear_and_wastes_no_step() -> None:
    assert [warmup_cosine(s, 100, 4) for s in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_cosine_starts_full_passes_half_and_ends_near_the_floor() -> None:
    assert warmup_cosine(4, 104, 4) == pytest.approx(1.0)
    assert warmup_cosine(54, 104, 4) == pytest.approx(0.5)
    assert warmup_cosine(54, 104, 4, floor=0.2) == pytest.approx(0.6)
    assert warmup_cosine(103, 104, 4) < 0.001
