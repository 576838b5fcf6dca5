"""RAFT against stored flows of the original, through its own parameter names; the flow CNN; the padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expotion import weights
from expotion.errors import WeightsError
from expotion_motion_raft import loader
from expotion_motion_raft.model import FlowCnn, build_raft, pad, scale_pixels, seed_weights
from expotion_motion_raft.options import GEOMETRIES

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


def golden(size):
    with np.load(GOLDEN / f"raft_{size}_dev.npz") as file:
        stored = dict(file)
    state = {}
    for key, value in stored.items():
        if key.endswith("|q"):
            state[key[2:-2]] = torch.from_numpy(value.astype(np.float32)) * float(stored[key[:-1] + "scale"])
        elif key.startswith("w/") and not key.endswith("|scale"):
            state[key[2:]] = torch.from_numpy(value)
    return stored, state


@pytest.mark.parametrize(("size", "updates", "count"), [("small", 6, 990_162), ("large", 4, 5_257_536)])
def test_golden_flow_through_princeton_names(size, updates, count, tmp_path):
    stored, state = golden(size)
    path = tmp_path / "raft.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    model = build_raft(GEOMETRIES[size]).eval()
    weights.fill(model, loader.to_torchvision(loader.read_file(path)), str(path))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    pictures = [scale_pixels(torch.from_numpy(stored[f"in/image{i}_u8"]).movedim(1, -1)) for i in (1, 2)]
    low = []
    hook = model.update_block.register_forward_hook(
        lambda module, inputs, outputs: low.append((inputs[3], outputs[1]))
    )
    with torch.inference_mode():
        found = model(*pictures, num_flow_updates=updates)
    hook.remove()
    flow, delta = low[-1]
    np.testing.assert_allclose((flow + delta).numpy(), stored["out/flow_low_final"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(found[0].numpy(), stored["out/flow_up_first"], atol=2e-2, rtol=0)
    np.testing.assert_allclose(found[-1].numpy(), stored["out/flow_up_final"], atol=2e-2, rtol=0)


@pytest.mark.parametrize("size", ["small", "large"])
def test_same_names_and_shapes_as_torchvision(size):
    from torchvision.models import optical_flow

    with torch.device("meta"):
        ours = build_raft(GEOMETRIES[size]).state_dict()
        theirs = getattr(optical_flow, f"raft_{size}")(weights=None).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert loader.to_torchvision(theirs).keys() == theirs.keys()


def test_every_difference_is_listed():
    _, state = golden("small")
    state["fnet.conv1.bias"] = torch.zeros(3)
    state["fnet.stranger"] = torch.zeros(1)
    del state["update_block.gru.convz.bias"]
    with torch.device("meta"):
        model = build_raft(GEOMETRIES["small"])
    with pytest.raises(WeightsError) as caught:
        weights.fill(model, loader.to_torchvision(state), "raft.pth")
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    for part in ("feature_encoder.convnormrelu.0.bias: shape [32], got [3]", "stranger", "convgru1.convz.bias"):
        assert part in text


@pytest.mark.parametrize("content", ["missing", "noise", "list"])
def test_unusable_files_are_one_clear_error(tmp_path, content):
    path = tmp_path / "raft.pth"
    if content == "list":
        torch.save([1], path)
    elif content == "noise":
        path.write_bytes(b"\x00\x01noise" * 50)
    with pytest.raises(WeightsError) as caught:
        loader.read_file(path)
    assert str(path) in str(caught.value) and len(caught.value.problems) == 1


def test_padding_is_symmetric_replication_to_multiples_of_eight():
    frames = torch.arange(2 * 3 * 130 * 139, dtype=torch.float32).view(2, 3, 130, 139)
    padded, (left, right, top, bottom) = pad(frames, min_side=128, square=False)
    assert padded.shape[-2:] == (136, 144) and (left, right, top, bottom) == (2, 3, 3, 3)
    torch.testing.assert_close(padded[..., 3:133, 2:141], frames)
    assert torch.equal(padded[..., 0, 2:141], frames[..., 0, :])
    small, _ = pad(frames[..., :40, :60], min_side=128, square=False)
    assert small.shape[-2:] == (128, 128)
    square, _ = pad(frames[..., :45, :80], min_side=64, square=True)
    assert square.shape[-2:] == (80, 80)


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_cnn_gives_256_values_frozen_by_its_seed(pool):
    first, again, other = FlowCnn(pool), FlowCnn(pool), FlowCnn(pool)
    for model, seed in ((first, 5), (again, 5), (other, 6)):
        seed_weights(model, seed)
    flow = torch.randn(3, 2, 40, 48, generator=torch.Generator().manual_seed(0))
    assert first(flow).shape == (3, 256)
    assert torch.equal(first(flow), again(flow))
    assert not torch.allclose(first(flow), other(flow))


def test_pooling_grid_tells_where_something_moves():
    model = FlowCnn(4)
    seed_weights(model, 0)
    flow = torch.zeros(1, 2, 80, 80)
    flow[..., 4:16, 64:76] = 6.0
    energy = model(flow).detach().view(16, 4, 4).sum(0)
    assert int(energy.argmax()) == 3
