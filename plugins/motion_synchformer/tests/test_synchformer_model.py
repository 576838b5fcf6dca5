"""The visual encoder against stored numbers of the original and against a literal form of its attention."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expotion_motion_synchformer import loader
from expotion_motion_synchformer.model import DividedAttention, VisualEncoder, scale_pixels, seeded
from expotion_motion_synchformer.options import GEOMETRIES, Geometry

GOLDEN = Path(__file__).parents[3] / "tests" / "golden" / "synchformer_dev.npz"
SMALL = Geometry(image=32, patch=8, frames=8, tubelet=2, dim=24, depth=2, heads=4)


def golden_state(golden):
    return {key[len("vfeat/") :]: torch.from_numpy(golden[key]) for key in golden if key.startswith("vfeat/")}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.mark.parametrize("layout", ["sync", "stage_one", "stage_one_ddp", "bare"])
def test_golden_through_every_official_layout(golden, layout, tmp_path):
    state = golden_state(golden)
    prefix = {
        "sync": "vfeat_extractor.",
        "stage_one": "v_encoder.",
        "stage_one_ddp": "module.v_encoder.",
        "bare": "",
    }
    content = {prefix[layout] + key: value for key, value in state.items()}
    if layout == "sync":
        content |= {"vproj.weight": torch.zeros(24, 24), "afeat_extractor.x": torch.zeros(1)}
        content = {"model": content}
    elif layout != "bare":
        content = {"state_dict": content, "epoch": 3}
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    model = loader.load(path, SMALL).model.eval()
    segments = torch.from_numpy(golden["in/segments_u8"])[0].movedim(2, -1)  # [S, F, H, W, 3]
    video = scale_pixels(segments).transpose(1, 2)
    with torch.inference_mode():
        tokens, rows = model.tokens(video), model(video)
    np.testing.assert_allclose(tokens.numpy(), golden["out/tokens_before_norm"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(rows.numpy(), golden["out/features"][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("over", ["time", "space"])
def test_divided_attention_equals_masked_full_attention(over):
    torch.manual_seed(1)
    steps, places, dim, heads = 3, 5, 16, 2
    attention = DividedAttention(dim, heads).eval()
    x = torch.randn(2, 1 + steps * places, dim)
    index = torch.arange(steps * places)
    group = index % places if over == "time" else index // places
    allowed = torch.ones(1 + steps * places, 1 + steps * places, dtype=torch.bool)
    allowed[1:, 1:] = group[:, None] == group
    q, k, v = attention.qkv(x).view(2, -1, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-1, -2)) * (dim // heads) ** -0.5
    literal = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1) @ v
    literal = attention.proj(literal.transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(attention(x, steps=steps, over=over), literal, atol=1e-6, rtol=1e-5)


def test_aggregation_equals_the_whole_transformer_layer():
    layer = seeded(SMALL, 3).spatial_attn_agg.eval()
    torch.nn.init.normal_(layer.cls_token)
    x = torch.randn(4, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = layer(torch.cat((layer.cls_token.expand(4, -1, -1), x), dim=1))[:, 0]
    torch.testing.assert_close(layer.aggregate(x), whole, atol=1e-5, rtol=1e-5)


def test_official_keys_and_shapes():
    shapes = loader.expected_shapes(GEOMETRIES["base"])
    block = {
        "norm1": (768,), "norm2": (768,), "norm3": (768,),
    }  # fmt: skip
    wanted = {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, 197, 768),
        "temp_embed": (1, 8, 768),
        "patch_embed.proj.weight": (768, 3, 16, 16),
        "patch_embed.proj.bias": (768,),
        "patch_embed_3d.proj.weight": (768, 3, 2, 16, 16),
        "patch_embed_3d.proj.bias": (768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
        "spatial_attn_agg.cls_token": (1, 1, 768),
        "spatial_attn_agg.self_attn.in_proj_weight": (2304, 768),
        "spatial_attn_agg.self_attn.in_proj_bias": (2304,),
        "spatial_attn_agg.self_attn.out_proj.weight": (768, 768),
        "spatial_attn_agg.self_attn.out_proj.bias": (768,),
        "spatial_attn_agg.linear1.weight": (3072, 768),
        "spatial_attn_agg.linear1.bias": (3072,),
        "spatial_attn_agg.linear2.weight": (768, 3072),
        "spatial_attn_agg.linear2.bias": (768,),
    }
    for norm in ("norm1", "norm2"):
        wanted |= {f"spatial_attn_agg.{norm}.{part}": (768,) for part in ("weight", "bias")}
    for number in range(12):
        name = f"blocks.{number}"
        wanted |= {f"{name}.{norm}.{part}": shape for norm, shape in block.items() for part in ("weight", "bias")}
        for attention in ("attn", "timeattn"):
            wanted |= {f"{name}.{attention}.qkv.weight": (2304, 768), f"{name}.{attention}.qkv.bias": (2304,)}
            wanted |= {f"{name}.{attention}.proj.weight": (768, 768), f"{name}.{attention}.proj.bias": (768,)}
        wanted |= {f"{name}.mlp.fc1.weight": (3072, 768), f"{name}.mlp.fc1.bias": (3072,)}
        wanted |= {f"{name}.mlp.fc2.weight": (768, 3072), f"{name}.mlp.fc2.bias": (768,)}
    assert shapes == wanted


def test_patch_embedding_is_the_convolution():
    model = VisualEncoder(SMALL)
    video = torch.randn(2, 3, 8, 32, 32)
    conv = model.patch_embed_3d.proj(video).flatten(3).permute(0, 2, 3, 1)
    torch.testing.assert_close(model.patch_embed_3d(video), conv, atol=1e-5, rtol=1e-5)
