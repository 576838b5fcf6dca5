"""Weights that do not fit are refused with every difference named; nothing in a file is executed."""

from __future__ import annotations

import pickle

import pytest
import torch

from expotion.errors import WeightsError
from expotion_motion_synchformer import SynchformerOptions, loader
from expotion_motion_synchformer.encoder import SynchformerEncoder
from expotion_motion_synchformer.model import seeded
from expotion_motion_synchformer.options import Geometry

SMALL = Geometry(image=16, patch=8, frames=4, tubelet=2, dim=8, depth=1, heads=2)


def save(tmp_path, state):
    path = tmp_path / "w.pt"
    torch.save(state, path)
    return path


def test_every_difference_is_listed(tmp_path):
    state = seeded(SMALL, 0).state_dict()
    del state["norm.bias"], state["blocks.0.mlp.fc1.weight"]
    state["cls_token"] = torch.zeros(1, 1, 9)
    state["blocks.7.extra"] = torch.zeros(2)
    with pytest.raises(WeightsError) as caught:
        loader.load(save(tmp_path, state), SMALL)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for part in ("norm.bias", "blocks.0.mlp.fc1.weight", "[1, 1, 8], got [1, 1, 9]", "blocks.7.extra"):
        assert part in text


class Bomb:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", ["missing", "empty", "noise", "pickle", "list", "foreign", "bad_safetensors"])
def test_unusable_files_are_one_clear_error(tmp_path, content, capsys):
    path = tmp_path / ("w.safetensors" if content == "bad_safetensors" else "w.pt")
    if content == "list":
        torch.save([torch.zeros(1)], path)
    elif content == "foreign":
        torch.save({"state_dict": {"layer.weight": torch.zeros(1)}}, path)
    elif content != "missing":
        path.write_bytes({"empty": b"", "pickle": pickle.dumps({"a": Bomb()})}.get(content, b"\x07noise" * 99))
    with pytest.raises(WeightsError) as caught:
        loader.load(path, SMALL)
    assert str(path) in str(caught.value)
    assert len(caught.value.problems) == 1
    assert "executed" not in capsys.readouterr().out


def test_wrong_standardisation_is_refused_and_right_one_is_kept(tmp_path):
    state = seeded(SMALL, 0).state_dict()
    with pytest.raises(WeightsError, match=r"output\.std"):
        loader.load(save(tmp_path, state | {"output.mean": torch.ones(8), "output.std": torch.ones(9)}), SMALL)
    loaded = loader.load(save(tmp_path, state | {"output.mean": torch.ones(8), "output.std": torch.ones(8)}), SMALL)
    assert loaded.mean is not None and loaded.mean.tolist() == [1.0] * 8


def test_the_official_geometry_asks_for_its_file():
    with pytest.raises(WeightsError, match="downloaded Synchformer checkpoint"):
        SynchformerEncoder(SynchformerOptions(geometry="base"))


def test_seeded_weights_depend_on_the_seed_only():
    first, again, other = (seeded(SMALL, seed).state_dict() for seed in (1, 1, 2))
    key = "blocks.0.attn.qkv.weight"
    assert torch.equal(first[key], again[key])
    assert not torch.equal(first[key], other[key])
