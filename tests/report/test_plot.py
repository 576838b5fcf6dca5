from __future__ import annotations

import numpy as np
import pytest

from expotion.report import plot


def test_path_by_hand():
    x, y = np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 0.25])
    assert plot.path(x, y) == "M0 100L500 0L1000 75"
    assert plot.area(x, y) == "M0 100L500 0L1000 75L1000 100L0 100Z"
    assert plot.area(x[:1], y[:1]) == ""


def test_gap_breaks_the_path():
    y = np.array([0.0, np.nan, 1.0, 1.0])
    assert plot.path(np.linspace(0, 0.3, 4), y) == "M0 100M200 0L300 0"


def test_strokes_outside_the_clip_are_left_out():
    assert plot.bars(np.array([-0.1, 0.25, 1.2]), 0.0, 0.2) == "M250 100V80"


def test_envelope_of_silence_and_of_nothing():
    assert plot.envelope(np.zeros(0, np.float32)) == ""
    assert plot.envelope(np.zeros(2000, np.float32)).endswith("Z")
    loud = plot.envelope(np.array([0.0, 0.5, -1.0, 0.0], np.float32), n_bins=2)
    assert loud.startswith("M250 26.5L750 49.5L750 97")


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [(0.0, 1.0, ["0.0", "0.5", "1.0"]), (-0.3, 0.21, ["−0.2", "0.0", "0.2"]), (0, 160, ["0", "50", "100", "150"])],
)
def test_round_ticks(low, high, texts):
    found = plot.ticks(low, high)
    assert [tick.text for tick in found] == texts
    assert all(-1e-6 <= tick.at_pct <= 100 + 1e-6 for tick in found)


def test_thinning_keeps_the_mean():
    values = np.arange(12_000, dtype=np.float64)
    thin = plot.thinned(values)
    assert len(thin) == 500
    assert thin.mean() == pytest.approx(values.mean())


def test_span_of_nothing_and_of_a_constant():
    assert plot.span_of([np.array([np.nan])]) == (0.0, 1.0)
    low, high = plot.span_of([np.array([2.0, 2.0])])
    assert low < 2.0 < high
