"""The encoder on videos made in memory: times, validity, frame rates, the DIS option, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from expotion.contracts import Clip
from expotion.errors import MediaError, WeightsError
from expotion_motion_raft import DIS_SPEC, RAFT_SPEC, DisOptions, RaftOptions
from expotion_motion_raft.encoder import FlowEncoder
from expotion_motion_raft.pairs import plan_rows

BACKDROP = np.random.default_rng(3).integers(0, 255, (20, 20, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
PIECE = np.random.default_rng(4).integers(0, 255, (6, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


class MemoryVideo:
    """A textured square that moves right at a constant speed over a still, textured picture."""

    size = (80, 80)

    def __init__(self, frame_times_s, decodable_until_s=np.inf, speed_px_per_s=20.0):
        self.frame_times_s = np.asarray(frame_times_s, dtype=np.float64)
        self.decodable_until_s = decodable_until_s
        self.speed_px_per_s = speed_px_per_s

    def frames_at(self, times_s, *, shorter_side=None):
        index = np.clip(np.searchsorted(self.frame_times_s, times_s, side="right") - 1, 0, None)
        frames = np.repeat(BACKDROP[None], len(index), axis=0)
        for frame, time_s in zip(frames, self.frame_times_s[index], strict=True):
            x = round(4 + self.speed_px_per_s * time_s)
            frame[28:52, x : x + 24] = PIECE
        return frames


class MemoryClip(Clip):
    def __init__(self, video, duration_s):
        self.id, self.duration_s, self.tracks = "memory", duration_s, {}
        self._video = video

    @property
    def content_hash(self):
        return "0"

    @property
    def video(self):
        return self._video

    def audio(self, sample_rate_hz):
        return None


def clip_at(fps, duration_s=2.0, **more):
    return MemoryClip(MemoryVideo(np.arange(round(duration_s * fps)) / fps, **more), duration_s)


@pytest.fixture(scope="module")
def encoder():
    return FlowEncoder(RaftOptions(geometry="tiny", weights="seeded"))


def test_times_shapes_and_determinism(encoder):
    track = encoder.extract(clip_at(25))
    assert track.values.shape == (25, 256) and RAFT_SPEC.width(encoder.options) == 256
    np.testing.assert_allclose(track.times_s, 0.04 + 0.08 * np.arange(25))
    assert track.valid.all() and RAFT_SPEC.rate_hz(encoder.options) == 12.5
    np.testing.assert_array_equal(encoder.extract(clip_at(25)).values, track.values)
    batches = FlowEncoder(RaftOptions(geometry="tiny", weights="seeded", batch_size=5)).extract(clip_at(25))
    np.testing.assert_allclose(batches.values, track.values, atol=1e-3)
    assert len(encoder.weights_hash) == 64 and encoder.raft is not None
    assert not any(parameter.requires_grad for parameter in [*encoder.raft.parameters(), *encoder.cnn.parameters()])


def test_flow_points_where_the_square_goes():
    """RAFT's own flow is held to the reference's numbers elsewhere."""
    encoder = FlowEncoder(DisOptions())
    video = MemoryVideo([0.0, 0.1, 0.2], speed_px_per_s=30.0)  # 3 px to the right
    found = encoder.flow(encoder.pictures(video, video.frame_times_s))
    assert found.shape == (2, 2, 80, 80)
    inside, outside = found[:, :, 34:46, 14:22].mean((0, 2, 3)), found[:, :, 4:16, 40:76].mean((0, 2, 3))
    assert inside[0] > 1.2 and abs(float(inside[1])) < 1.0
    assert outside.abs().max() < 1.0


def test_shipped_weights_name_what_they_are():
    sources = {
        weights.name: weights.source
        for weights in RAFT_SPEC.weights(RaftOptions(geometry="tiny", weights="seeded"))
    }
    assert sources == {"raft_tiny_seed0": "seeded", "flow_cnn_seed0": "seeded"}
    assert [w.name for w in DIS_SPEC.weights(DisOptions())] == ["flow_cnn_tiny"]
    official = {w.name: w.licence for w in RAFT_SPEC.weights(RaftOptions())}
    assert official == {"raft_large_things": "BSD-3-Clause", "flow_cnn_seed0": "Apache-2.0"}


@pytest.mark.parametrize("fps", [12, 24, 29.97, 60])
def test_constant_motion_has_the_same_flow_at_any_frame_rate(fps):
    encoder = FlowEncoder(DisOptions(cnn="seeded"))
    reference, other = encoder.extract(clip_at(50)), encoder.extract(clip_at(fps))
    a, b = reference.values[4:-4].mean(0), other.values[4:-4].mean(0)
    limit = 0.3 if fps < 20 else 0.2  # below 25 fps the two pictures of a flow are farther apart than asked for
    assert np.linalg.norm(a - b) < limit * np.linalg.norm(a)


def test_rows_by_hand():
    rows = plan_rows(np.array([0.0, 0.1, 0.2, 0.3, 1.2]), 1.3, 5.0)
    assert rows.frame_times_s.tolist() == [0.0, 0.2, 0.3, 1.2]
    np.testing.assert_allclose(rows.times_s, [0.1, 0.25, 0.75])
    np.testing.assert_allclose(rows.scale, [1.0, 2.0, 0.2 / 0.9])
    assert rows.near.tolist() == [True, True, False]
    assert rows.first.tolist() == rows.last.tolist() == [0, 1, 2] and rows.weights(1).tolist() == [1.0]
    assert len(plan_rows(np.arange(250) / 25, 10.0, 5.0).times_s) == 49


def test_rows_of_several_flows_by_hand():
    """A row is the mean over its period; a flow over the border of two rows counts in both, by its share."""
    rows = plan_rows(np.array([0.0, 0.04, 0.10, 0.16, 0.24]), 0.28, 12.5, 0.04)
    assert rows.frame_times_s.tolist() == [0.0, 0.04, 0.10, 0.16, 0.24]
    np.testing.assert_allclose(rows.times_s, [0.04, 0.12, 0.20])
    assert rows.first.tolist() == [0, 1, 3] and rows.last.tolist() == [1, 2, 3]
    np.testing.assert_allclose(rows.weights(0), [0.5, 0.5])
    np.testing.assert_allclose(rows.weights(1), [0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(rows.scale, 0.08 / np.array([0.04, 0.06, 0.06, 0.08]))


@pytest.mark.parametrize("fps", [5.0, 12.0, 24.0, 25.0, 29.97, 60.0])
def test_rows_are_at_the_same_times_for_every_source(fps):
    times_s = np.arange(round(2.0 * fps)) / fps
    rows = plan_rows(times_s, 2.0, 12.5, 0.04)
    n = len(rows.times_s)
    assert n >= 25 - np.ceil(0.08 + 1 / fps * 12.5)
    np.testing.assert_allclose(rows.times_s, 0.04 + 0.08 * np.arange(n))
    assert all(abs(rows.weights(row).sum() - 1) < 1e-9 and rows.weights(row).min() > 0 for row in range(n))


def test_last_repeats_the_last_flow():
    track = FlowEncoder(DisOptions(rate_hz=5.0, apart_s=0.2, last="repeat")).extract(clip_at(25))
    assert len(track.times_s) == 10 and track.times_s[-1] == pytest.approx(1.9)
    np.testing.assert_array_equal(track.values[-1], track.values[-2])


def test_where_decoding_stops_rows_are_not_valid():
    track = FlowEncoder(DisOptions()).extract(clip_at(25, decodable_until_s=1.0))
    np.testing.assert_array_equal(track.valid, track.times_s + 0.04 < 1.0 - 1e-9)


@pytest.mark.parametrize("options", [{"flow": "dis"}, {"geometry": "tiny"}, {"geometry": "tiny", "flow": None}])
def test_what_meant_dis_flow_before_is_told_its_name(options):
    with pytest.raises(ValidationError, match="`encoder: motion_dis`"):
        RaftOptions.model_validate(options)


def test_options_of_before_that_meant_raft_are_read():
    assert RaftOptions.model_validate({"geometry": "large", "flow": None}) == RaftOptions()
    tiny = RaftOptions.model_validate({"geometry": "tiny", "flow": "raft", "weights": None})
    assert tiny.raft_is_seeded and tiny.updates == 3


def test_one_picture_has_no_motion(encoder):
    track = encoder.extract(MemoryClip(MemoryVideo([0.0]), 1.0))
    assert track.values.shape == (1, 256) and track.coverage == 0.0


def test_no_picture_and_no_weights_are_clear_errors(encoder):
    with pytest.raises(MediaError, match="memory: a clip with a picture"):
        encoder.extract(MemoryClip(None, 1.0))
    with pytest.raises(WeightsError, match="motion_dis"):
        FlowEncoder(RaftOptions(geometry="large"))


def test_official_sizes_run_with_seeded_weights():
    options = RaftOptions(geometry="small", weights="seeded", iterations=1)
    encoder = FlowEncoder(options)
    assert RAFT_SPEC.rate_hz(options) == 5.0
    pictures = torch.randint(0, 255, (2, 100, 150, 3), dtype=torch.uint8)
    assert encoder.flow(pictures).shape == (1, 2, 100, 150)
    assert encoder.describe(encoder.flow(pictures)).shape == (1, 256)
