"""Both engines against the released code's own generations, prefix included."""

from __future__ import annotations

import pytest
import torch

from expotion.adaptor.authors import adaptor_from_released
from expotion.adaptor.guidance import guided_prefix
from expotion.adaptor.project import TrackInput
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.generate import Sampler, generate_codes
from expotion_fast.engine import FusedEngine


@pytest.mark.parametrize("kind", [Engine, FusedEngine])
@pytest.mark.parametrize("variant", ["expotion_adaptor", "expotion_maskvariant"])
@pytest.mark.parametrize("name", ["full", "beyond", "short", "continuation"])
def test_greedy_generation_is_the_released_codes(golden, golden_lm, kind, variant, name):
    data = golden(variant)
    config = data.about["config"]
    adaptor = adaptor_from_released(data.under("adaptor/"), config["layers"], "golden")
    tracks = {adaptor.config.modalities[0].name: TrackInput(data["in/features"])}
    if "in/cond_mask" in data.arrays.files:
        keep = (data["in/cond_mask"] > 0).float()
        tracks["body"] = TrackInput(data["in/body"], keep=keep[:, 0])
        tracks["vid"] = TrackInput(data["in/vid"], keep=keep[:, 1])
    engine = kind(golden_lm(data), "fp32")
    limit = config["short_len"] if name == "short" else None
    wanted, seen = data[f"gen/{name}_tokens"], []
    tokens = generate_codes(
        engine,
        engine.project_text(data["in/text_hidden"], data["in/text_mask"]),
        wanted.shape[2],
        prefix=guided_prefix(adaptor, engine, tracks, row_limit=limit),
        sampler=Sampler(greedy=True),
        prompt=data["gen/prompt"] if name == "continuation" else None,
        on_logits=seen.append,
    )
    assert torch.equal(tokens, wanted)
    assert (torch.stack(seen) - data[f"gen/{name}_cfg_logits"]).abs().max() < 1e-4
    without = generate_codes(
        engine,
        data["in/cross_source"],
        wanted.shape[2],
        sampler=Sampler(greedy=True),
        prompt=data["gen/prompt"] if name == "continuation" else None,
    )
    assert not torch.equal(without, wanted)
