"""Our way through RAFT's parts gives its own forward's flow; the trainable CNN as a part of the adaptor."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expotion.contracts import read_ahead
from expotion.testing import SyntheticClip
from expotion.video.memory import ArrayVideo
from expotion_motion_raft import DIS_SPEC, DisOptions
from expotion_motion_raft.encoder import FlowEncoder
from expotion_motion_raft.model import FlowCnn, build_raft, consecutive_flow, seed_weights
from expotion_motion_raft.options import FLOW_GRID, GEOMETRIES


@pytest.mark.parametrize("size", ["tiny", "small", "large"])
def test_consecutive_flow_is_the_models_own(size):
    """Small: bilinear, large: convex upsampling."""
    model = build_raft(GEOMETRIES[size]).eval()
    seed_weights(model, 1)
    generator = torch.Generator().manual_seed(2)
    frames = torch.rand(3, 3, 128, 136, generator=generator) * 2 - 1
    with torch.inference_mode():
        wanted = model(frames[:-1], frames[1:], num_flow_updates=2)[-1]
        found = consecutive_flow(model, frames, 2)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_a_trainable_cnn_gets_the_flow_and_describes_it_as_the_frozen_one():
    options = DisOptions(cnn="trainable", seed=3)
    encoder = FlowEncoder(options)
    clip = SyntheticClip(1.0, 25.0)
    track = encoder.extract(clip)
    assert DIS_SPEC.width(options) == 2 * FLOW_GRID**2 == track.values.shape[1]
    assert [weights.name for weights in DIS_SPEC.weights(options)] == ["flow_cnn_seed3"]
    assert encoder.weights_hash == FlowEncoder(DisOptions(cnn="trainable", seed=4)).weights_hash
    projection = encoder.project(track.values.shape[1], 12)
    rows = projection(torch.from_numpy(track.values).view(1, *track.values.shape))
    assert rows.shape == (1, len(track.times_s), 12)
    frozen = FlowCnn(GEOMETRIES["tiny"].pool)
    seed_weights(frozen, 3)
    grids = torch.from_numpy(track.values).view(-1, 2, FLOW_GRID, FLOW_GRID)
    torch.testing.assert_close(projection.linear(frozen(grids)), rows[0])
    rows.square().mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in projection.parameters())
    assert isinstance(FlowEncoder(DisOptions()).project(256, 12), torch.nn.Linear)


def test_each_picture_is_asked_for_once(monkeypatch):
    """Two pictures a row, announced in advance in the size in which they are then asked for."""
    clip = SyntheticClip(2.0, 25.0)
    times_s = clip.video.frame_times_s
    video = ArrayVideo(clip.video.frames_at(times_s), times_s)
    asked, announced = [], []
    frames_at = video.frames_at
    monkeypatch.setattr(type(clip), "video", property(lambda _: video))

    def noted(times_s, *, shorter_side=None):
        asked.append((shorter_side, len(times_s)))
        return frames_at(times_s, shorter_side=shorter_side)

    video.frames_at = noted
    video.read_ahead = lambda times_s, *, shorter_side=None: announced.append((shorter_side, len(times_s)))
    read_ahead(video, times_s[:1])
    encoder = FlowEncoder(DisOptions(batch_size=10))
    track = encoder.extract(clip)
    assert track.values.shape == (25, 256)
    assert announced == [(None, 1), (80, 50)]
    assert asked == [(80, 21), (80, 21), (80, 10)]  # the last picture of a batch is the first of the next
    assert encoder.frame_sizes(video) == (80,)
    assert np.isfinite(track.values).all()
