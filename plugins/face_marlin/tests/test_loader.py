from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from expotion.errors import WeightsError
from expotion_face_marlin import FaceMarlinOptions
from expotion_face_marlin.encoder import load_network
from expotion_face_marlin.geometry import GEOMETRIES, MarlinGeometry
from expotion_face_marlin.loader import build_from_state, infer_geometry, load_encoder, read_state
from expotion_face_marlin.model import MarlinAutoencoder, MarlinEncoder, initialise

GEOMETRY = MarlinGeometry(32, 32, 16, 16, 2, 128, 2, 2, 64, 1, 1)


@pytest.fixture(scope="module")
def model() -> MarlinAutoencoder:
    model = MarlinAutoencoder(GEOMETRY)
    initialise(model, 3)
    return model.eval()


def encoder_state(model: MarlinAutoencoder) -> dict[str, torch.Tensor]:
    return {key: value for key, value in model.state_dict().items() if key.startswith("encoder.")}


def test_the_three_official_kinds_and_safetensors(model: MarlinAutoencoder, tmp_path: Path) -> None:
    full = model.state_dict()
    checkpoint = {"state_dict": full | {"discriminator.head.weight": torch.zeros(1)}, "epoch": 3}
    torch.save(encoder_state(model), tmp_path / "m.encoder.pt")
    torch.save(full, tmp_path / "m.full.pt")
    torch.save(checkpoint, tmp_path / "m.ckpt")
    save_file(encoder_state(model), tmp_path / "m.safetensors")
    clips = torch.rand(1, 3, 16, 32, 32)
    with torch.inference_mode():
        wanted = model.encoder.pooled(clips)
        for name in ("m.encoder.pt", "m.full.pt", "m.ckpt", "m.safetensors"):
            loaded = load_encoder(tmp_path / name, GEOMETRY)
            assert not any(p.requires_grad for p in loaded.parameters())
            torch.testing.assert_close(loaded.pooled(clips), wanted, atol=0, rtol=0)


def test_geometry_from_a_state_dict(model: MarlinAutoencoder) -> None:
    assert infer_geometry(model.state_dict()) == GEOMETRY
    assert isinstance(build_from_state(model.state_dict()), MarlinAutoencoder)
    assert isinstance(build_from_state(encoder_state(model)), MarlinEncoder)


@pytest.mark.parametrize("name", ["small", "base", "large"])
def test_official_geometries_are_inferred(name: str) -> None:
    with torch.device("meta"):
        state = MarlinAutoencoder(GEOMETRIES[name]).state_dict()
    assert infer_geometry(state) == GEOMETRIES[name]


def test_every_difference_is_listed(model: MarlinAutoencoder) -> None:
    state = encoder_state(model)
    del state["encoder.norm.bias"]
    state["encoder.extra"] = torch.zeros(2)
    state["encoder.norm.weight"] = torch.zeros(3)
    with pytest.raises(WeightsError) as caught:
        build_from_state(state, GEOMETRY, where="file.pt")
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "encoder.norm.bias: to be there, got nothing" in text
    assert "encoder.extra: not to be there, got a tensor [2]" in text
    assert "encoder.norm.weight: shape [128], got [3]" in text


class Trap:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_bad_files_end_in_weights_errors(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "trap.pt").write_bytes(pickle.dumps({"encoder.x": Trap(sprung)}))
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "noise.safetensors").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"encoder.a": "text"}, tmp_path / "text.pt")
    names = ("trap.pt", "noise.pt", "noise.safetensors", "empty.pt", "list.pt", "text.pt", "absent.pt")
    for name in names:
        with pytest.raises(WeightsError, match=name):
            read_state(tmp_path / name)
    assert not sprung.exists()


def test_a_file_of_another_model(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"encoder\.patch_embedding\.projection\.weight"):
        infer_geometry(read_state(tmp_path / "other.pt"))


def test_official_geometry_without_file_says_what_to_do() -> None:
    with pytest.raises(WeightsError, match=r"marlin_vit_base_ytf\.encoder\.pt.*CC-BY-NC"):
        load_network(FaceMarlinOptions(geometry="base"))


def test_tiny_needs_its_statistics(tmp_path: Path) -> None:
    state = MarlinEncoder(GEOMETRIES["tiny"]).state_dict()
    save_file({f"encoder.{key}": value for key, value in state.items()}, tmp_path / "t.safetensors")
    with pytest.raises(WeightsError, match=r"output\.mean: shape \(96,\), got no such key"):
        load_network(FaceMarlinOptions(weights=tmp_path / "t.safetensors"))
