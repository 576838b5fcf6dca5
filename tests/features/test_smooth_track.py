"""Native tracks to model steps."""

import numpy as np
import pytest

from expotion.contracts import SmoothedTrack, TimedFeatures, TokenFeatures
from expotion.errors import ExpotionError, PluginError
from expotion.features.smooth import Coverage, coverage, smooth_track


def ramp(valid: np.ndarray) -> TimedFeatures:
    times_s = np.arange(20) / 10
    return TimedFeatures(np.stack([times_s, -times_s], axis=1).astype(np.float32), times_s, valid)


def test_rows_follow_the_track(toy):
    smoothed = smooth_track(toy(), ramp(np.ones(20, np.bool_)), 100, 50.0)
    rows = np.arange(101) / 50
    assert smoothed.values.shape == (101, 2)
    assert smoothed.valid.all()
    assert smoothed.values[:, 0] == pytest.approx(np.minimum(rows, 1.9), abs=1e-6)


def test_coverage_counts_rows_and_the_longest_gap(toy):
    valid = np.ones(20, np.bool_)
    valid[5:15] = False
    track = ramp(valid)
    found = coverage(track, smooth_track(toy(), track, 100, 50.0), 50.0)
    assert found.native == 0.5
    assert found.longest_gap_s == pytest.approx(1.08, abs=0.03)
    assert found.rows == pytest.approx(1 - 54 / 101, abs=0.02)
    assert str(found) == "47% of the clip, longest gap 1.1 s; nothing at 0.4 to 1.5 s"
    assert found.is_notable
    assert not Coverage(1.0, 0.95, ((0.0, 0.9),)).is_notable
    assert Coverage(1.0, 0.95, ((2.0, 3.0),)).is_notable


def test_no_face_at_all(toy):
    track = ramp(np.zeros(20, np.bool_))
    found = coverage(track, smooth_track(toy(), track, 100, 50.0), 50.0)
    assert (found.native, found.rows) == (0.0, 0.0)
    assert str(found) == "0% of the clip, longest gap 2.0 s"


def test_token_features_are_not_smoothed(toy):
    tokens = TokenFeatures(np.zeros((2, 2), np.float32), np.ones(2, np.bool_))
    with pytest.raises(ExpotionError, match="encoder toy: a track with times to smooth, got token features"):
        smooth_track(toy(), tokens, 100, 50.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((5, 2), np.float32), "smooth"), (np.full((101, 2), np.nan, np.float32), "finite")],
)
def test_a_plugin_with_a_wrong_smoother_is_named(toy, values, message):
    encoder = toy()
    encoder.smooth = lambda track, times_s: SmoothedTrack(values, np.ones(len(values), np.bool_))
    with pytest.raises(PluginError, match=f"encoder toy: .*{message}"):
        smooth_track(encoder, ramp(np.ones(20, np.bool_)), 100, 50.0)
