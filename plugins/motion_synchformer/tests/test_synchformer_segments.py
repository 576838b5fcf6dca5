"""Segments and row times by hand."""

from __future__ import annotations

import numpy as np
import pytest

from expotion_motion_synchformer.segments import (
    Segments,
    around,
    merge_rows,
    plan_segments,
    rows_valid,
    tick_times_s,
)


def plan(duration_s, *, frames=16, step=8, windows="cover", tubelet=2, fps=25.0):
    return plan_segments(duration_s, fps=fps, frames=frames, tubelet=tubelet, step=step, windows=windows)


def test_reference_windows_are_the_references_numbers():
    assert len(plan(10.0, step=5, windows="reference").starts) == 47  # 376 rows, facts 4.2
    starts = plan(5.0, step=8, windows="reference").starts  # 125 frames: 14 segments cover 120, centred
    assert len(starts) == 14 and starts[0] == 2 and starts[-1] == 2 + 13 * 8
    assert plan(0.2, windows="reference").starts.tolist() == [0]


@pytest.mark.parametrize(("duration_s", "step", "starts"), [
    (0.64, 8, [0]), (0.1, 8, [0]), (1.28, 8, [0, 8, 16]), (1.28, 16, [0, 16]), (0.88, 16, [0, 6]), (1.0,
    16, [0, 10]),
])  # fmt: skip
def test_cover_starts(duration_s, step, starts):
    assert plan(duration_s, step=step).starts.tolist() == starts


@pytest.mark.parametrize("duration_s", [0.03, 0.5, 1.0, 3.33, 10.0, 12.345])
@pytest.mark.parametrize("step", [5, 8, 16])
def test_cover_sees_every_frame_and_keeps_the_row_grid(duration_s, step):
    segments = plan(duration_s, step=step)
    points = max(1, round(duration_s * 25))
    seen = np.unique(segments.starts[:, None] + np.arange(16))
    assert set(range(points)) <= set(seen.tolist())
    if step % 2 == 0:
        _, ticks = merge_rows(np.zeros((len(segments.starts), 8, 1), np.float32), segments, overlap="central")
        assert np.all(np.diff(ticks) == 4)


def test_row_times_are_the_tubelets_centres():
    times_s = tick_times_s(plan(0.64).row_ticks[0], 25.0)
    np.testing.assert_allclose(times_s, (np.arange(8) * 2 + 0.5) / 25.0)


def test_overlapping_rows_by_hand():
    segments = Segments(starts=np.array([0, 2]), frames=6, tubelet=2, fps=25.0)
    values = np.array([[[0.0], [1.0], [2.0]], [[11.0], [12.0], [13.0]]], dtype=np.float32)
    average, ticks = merge_rows(values, segments, overlap="average")
    assert ticks.tolist() == [1, 5, 9, 13]
    assert average[:, 0].tolist() == [0.0, 6.0, 7.0, 13.0]
    central, _ = merge_rows(values, segments, overlap="central")
    assert central[:, 0].tolist() == [0.0, 1.0, 12.0, 13.0]


def test_odd_steps_interleave_to_strictly_increasing_times():
    segments = plan(2.0, step=5)
    _, ticks = merge_rows(np.zeros((len(segments.starts), 8, 1), np.float32), segments, overlap="average")
    assert np.all(np.diff(ticks) > 0) and np.diff(ticks).min() == 2


def test_frames_around_a_time():
    frames_s = np.array([0.0, 0.1, 0.2, 0.4])
    asked_s = np.array([-1.0, 0.04, 0.05, 0.06, 0.2, 0.29, 0.31, 9.0])
    before, after, weight = around(frames_s, asked_s, between="blend")
    assert before.tolist() == [0, 0, 0, 0, 2, 2, 2, 3] and after.tolist() == [1, 1, 1, 1, 3, 3, 3, 3]
    np.testing.assert_allclose(weight, [0, 0.4, 0.5, 0.6, 0, 0.45, 0.55, 1.0], atol=1e-6)
    before, after, weight = around(frames_s, asked_s, between="nearest")
    assert np.where(weight > 0, after, before).tolist() == [0, 0, 0, 1, 2, 2, 3, 3]
    assert around(np.array([0.3]), asked_s, between="blend")[0].tolist() == [0] * 8


def test_rows_are_invalid_where_nothing_moves_or_decodes():
    times_s = np.arange(0.04, 4.0, 0.08)
    frames_s = np.arange(1.0, 3.0, 0.04)
    valid = rows_valid(times_s, frame_times_s=frames_s, decodable_until_s=2.5, row_s=0.08)
    np.testing.assert_array_equal(valid, (times_s >= 0.5) & (times_s < 2.46))
    ended = rows_valid(times_s, frame_times_s=frames_s, decodable_until_s=np.inf, row_s=0.08)
    np.testing.assert_array_equal(ended, (times_s >= 0.5) & (times_s <= 2.96 + 0.5))
    one = rows_valid(times_s, frame_times_s=frames_s[:1], decodable_until_s=np.inf, row_s=0.08)
    assert not one.any()
