"""The training's made motion is what it says, and the script runs from end to end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TRAIN = Path(__file__).parents[1] / "train"


@pytest.fixture(scope="module")
def tiny():
    import importlib.util

    spec = importlib.util.spec_from_file_location("raft_train_tiny", TRAIN / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


def test_second_picture_moved_by_the_flow_is_the_first(tiny):
    smooth = torch.nn.functional.interpolate(torch.rand(4, 3, 10, 10), size=80, mode="bicubic")
    first, second, flow = tiny.moving_pictures(smooth, np.random.default_rng(0))
    yy, xx = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    back = tiny._look(second, xx + flow[:, 0], yy + flow[:, 1])
    still = (second - first).abs().mean()
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    assert (back - first)[inner].abs().mean() < 0.35 * still
    assert 0.3 < float(flow.norm(dim=1).mean()) < 6.0


def test_smoke(tiny, tmp_path, monkeypatch):
    from expotion_motion_raft import loader

    out = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(sys, "argv", ["tiny.py", "--smoke", "--cache", str(tmp_path), "--out", str(out)])
    tiny.main()
    state = loader.read_file(out)
    for prefix in ("raft.", "cnn_raft.", "cnn_dis."):
        assert loader.part(state, prefix)
    assert out.stat().st_size < 2e6
