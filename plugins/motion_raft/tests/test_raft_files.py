"""Both published layouts of RAFT's weights, and files that must be refused."""

from __future__ import annotations

import os

import pytest
import torch

from expotion import weights
from expotion.errors import WeightsError
from expotion_motion_raft import RaftOptions, loader
from expotion_motion_raft.encoder import FlowEncoder
from expotion_motion_raft.model import build_raft, seed_weights
from expotion_motion_raft.options import GEOMETRIES


def test_torchvisions_file_loads_as_it_is(tmp_path):
    theirs = build_raft(GEOMETRIES["small"])
    seed_weights(theirs, 4)
    torch.save(theirs.state_dict(), tmp_path / "raft_small_C_T_V1.pth")
    ours = build_raft(GEOMETRIES["small"])
    weights.fill(ours, loader.to_torchvision(loader.read_file(tmp_path / "raft_small_C_T_V1.pth")), "file")
    wanted = theirs.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in ours.state_dict().items())


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save({"module.fnet.conv1.weight": torch.zeros(1), "run": os.system}, tmp_path / "raft.pth")
    with pytest.raises(WeightsError, match="plain data"):
        loader.read_file(tmp_path / "raft.pth")


def test_official_weights_that_are_not_there_name_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="expotion models pull raft_small_things"):
        FlowEncoder(RaftOptions(geometry="small"))
