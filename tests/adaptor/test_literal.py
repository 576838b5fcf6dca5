"""The fast form against the equations written out in float64."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion.adaptor.config import AdaptorConfig, Modality
from expotion.adaptor.project import TrackInput

_SPEC = importlib.util.spec_from_file_location("literal_adaptor", Path(__file__).parent / "literal.py")
literal = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(literal)

OPTIONS = [
    {},
    {"prefix_attention": "causal", "fusion": "shared"},
    {"positions": "table", "max_rows": 12, "start": "table"},
    {"positions": "fused", "max_rows": 12, "fusion": "shared", "prefix_block": "attention"},
]


def float64(module):
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("options", OPTIONS, ids=["ours", "causal_shared", "tables", "paper"])
def test_fast_form_equals_the_equations(lm, make_adaptor, tokens, source, options):
    config = AdaptorConfig((Modality("face", 6, 3), Modality("motion", 5, 2)), 32, 3, 2)
    config = dataclasses.replace(config, **options)
    adaptor = make_adaptor(config)
    torch.manual_seed(8)
    mean, std = torch.randn(6), torch.rand(6) + 0.5
    adaptor.set_statistics("face", mean, std)
    values = {"face": torch.randn(3, 9, 6), "motion": torch.randn(3, 9, 5)}
    valid = torch.rand(3, 9) > 0.4
    keep = torch.tensor([1.0, 0.0, 0.6])
    inputs = {"face": TrackInput(values["face"], valid=valid), "motion": TrackInput(values["motion"], keep=keep)}
    fast = lm.hidden(tokens, source, adaptor(lm, inputs)).detach().double().numpy()

    weights, trained = float64(lm), float64(adaptor)
    names = [name.removeprefix("layers.0.") for name in weights if name.startswith("layers.0.")]
    model = weights | {"n_heads": 4, "names": names}
    for clip in range(3):
        strengths = {"face": valid[clip].double().numpy(), "motion": np.full(9, keep[clip].item())}
        parts = []
        for name, width in (("face", 6), ("motion", 5)):
            parts.append(
                literal.latent(
                    values[name][clip].double().numpy(),
                    trained[f"project.{name}.linear.weight"],
                    trained[f"project.{name}.null"],
                    strengths[name],
                    mean.double().numpy() if name == "face" else np.zeros(width),
                    std.double().numpy() if name == "face" else np.ones(width),
                )
            )
        z = np.concatenate(parts, axis=1)
        prefix = literal.prefix_stream(model, trained, config, lambda _layer, z=z: z)
        active = (strengths["face"] > 0) | (strengths["motion"] > 0)
        tables = weights["embedding.weight"].reshape(4, 21, 32)
        embedded = sum(tables[k, tokens[clip, k].numpy()] for k in range(4))
        exact = literal.model_hidden(
            model, config, embedded, source[clip].double().numpy(), prefix, trained["gates"], active
        )
        assert np.abs(fast[clip] - exact).max() < 2e-5 * max(1.0, np.abs(exact).max())
