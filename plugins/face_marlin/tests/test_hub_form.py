"""The Hugging Face form of MARLIN's weights, and official weights that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from expotion.errors import WeightsError
from expotion_face_marlin import FaceMarlinOptions
from expotion_face_marlin.encoder import load_network
from expotion_face_marlin.geometry import MarlinGeometry
from expotion_face_marlin.loader import load_encoder
from expotion_face_marlin.model import MarlinEncoder, initialise

GEOMETRY = MarlinGeometry(32, 32, 16, 16, 2, 128, 2, 2, 64, 1, 1)


def test_hugging_face_form_loads_and_is_strict(tmp_path: Path) -> None:
    model = MarlinEncoder(GEOMETRY)
    initialise(model, 5)
    state = {f"marlin.encoder.{name}": tensor for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    loaded = load_encoder(tmp_path / "model.safetensors", GEOMETRY).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())
    del state["marlin.encoder.norm.bias"]
    state["marlin.encoder.stray"] = torch.zeros(1)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError) as caught:
        load_encoder(tmp_path / "model.safetensors", GEOMETRY)
    assert len(caught.value.problems) == 2


def test_official_weights_that_are_not_there_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="expotion models pull marlin_vit_base_ytf"):
        load_network(FaceMarlinOptions(geometry="base"))
