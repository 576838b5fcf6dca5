from __future__ import annotations

import os

import pytest
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.authors import export_released, import_released
from expotion.adaptor.config import released_code
from expotion.errors import ExpotionError, WeightsError
from expotion.weights import read_state


def test_there_and_back_is_byte_equal(golden, tmp_path):
    theirs = golden.under("adaptor/")
    torch.save(theirs, tmp_path / "diff_19_end.pth")
    adaptor = import_released(tmp_path / "diff_19_end.pth", n_lm_layers=golden.config["layers"])
    export_released(adaptor, tmp_path / "back.pth")
    back = read_state(tmp_path / "back.pth")
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].numpy().tobytes() == tensor.numpy().tobytes(), name


def test_shipped_geometry_has_the_published_number_of_parameters():
    config = released_code(width=2048, n_lm_layers=48, n_adapted=48, feature_width=256, rank=48, n_rows=501)
    with torch.device("meta"):
        adaptor = Adaptor(config)
    assert sum(parameter.numel() for parameter in adaptor.parameters()) == 55_007_280


def test_every_mismatch_is_listed(golden, tmp_path):
    state = golden.under("adaptor/")
    state.pop("merge_linear.1.weight")
    state["gates"] = state["gates"].half()
    state["layers.0.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(WeightsError) as error:
        import_released(tmp_path / "a.pth", n_lm_layers=golden.config["layers"])
    assert len(error.value.problems) == 3
    torch.save({"pos_emb": torch.zeros(2, 3)}, tmp_path / "b.pth")
    with pytest.raises(WeightsError) as error:
        import_released(tmp_path / "b.pth", n_lm_layers=4)
    assert len(error.value.problems) == 3
    with pytest.raises(WeightsError, match="n_adapted"):
        torch.save(golden.under("adaptor/"), tmp_path / "c.pth")
        import_released(tmp_path / "c.pth", n_lm_layers=2)


def test_code_and_damage_are_refused(tmp_path):
    torch.save({"gates": os.system}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="refused"):
        read_state(tmp_path / "code.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(WeightsError):
        read_state(tmp_path / "junk.pth")
    with pytest.raises(WeightsError):
        read_state(tmp_path / "missing.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="flat dictionary"):
        read_state(tmp_path / "list.pth")


def test_only_their_shape_can_be_exported(config, make_adaptor, tmp_path):
    with pytest.raises(ExpotionError, match="released_code"):
        export_released(make_adaptor(config), tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []
