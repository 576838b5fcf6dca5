from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion.adaptor.adaptor import Adaptor
from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.project import TrackInput
from expotion.musicgen import audiocraft_files
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry

GOLDEN = Path(__file__).parent.parent / "golden"
N_LAYERS, WIDTH, HEADS, ROWS = 3, 32, 4, 9


@pytest.fixture
def lm() -> MusicGenLM:
    torch.manual_seed(0)
    model = MusicGenLM(LMGeometry(WIDTH, N_LAYERS, HEADS, 48, 4, 20, 12))
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        parameter.add_(0.3 * noise) if "norm" in name else parameter.copy_(0.15 * noise)
    return model


@pytest.fixture
def config() -> AdaptorConfig:
    return AdaptorConfig((Modality("face", 6, 3), Modality("motion", 5, 2)), WIDTH, N_LAYERS, 2)


@pytest.fixture
def make_adaptor():
    def make(config: AdaptorConfig, gate: float = 0.7) -> Adaptor:
        adaptor = Adaptor(config, seed=4)
        torch.manual_seed(5)
        with torch.no_grad():
            adaptor.gates.copy_(gate * torch.randn(config.n_adapted))
            for modality in config.modalities:
                null = adaptor.projector(modality.name).null
                if null is not None:
                    null.copy_(torch.randn_like(null))
        return adaptor

    return make


@pytest.fixture
def inputs() -> dict[str, TrackInput]:
    torch.manual_seed(6)
    return {"face": TrackInput(torch.randn(3, ROWS, 6)), "motion": TrackInput(torch.randn(3, ROWS, 5))}


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 21, (3, 4, ROWS), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def source() -> torch.Tensor:
    return torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(2))


class GoldenSet:
    """One of the two adaptor sets, with its model built."""

    def __init__(self, kind: str) -> None:
        self.config = json.loads((GOLDEN / f"{kind}_dev.json").read_text())["config"]
        self.arrays = np.load(GOLDEN / f"{kind}_dev.npz")
        state = self.under("lm/")
        settings = {"transformer_lm": {"num_heads": self.config["heads"]}}
        self.lm = audiocraft_files.language_model(state, settings, "golden")

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {n.removeprefix(prefix): self[n] for n in self.arrays.files if n.startswith(prefix)}


@pytest.fixture(scope="session", params=["expotion_adaptor", "expotion_maskvariant"])
def golden(request) -> GoldenSet:
    return GoldenSet(request.param)
