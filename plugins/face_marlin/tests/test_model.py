from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion_face_marlin.geometry import GEOMETRIES, MarlinGeometry
from expotion_face_marlin.loader import build_from_state
from expotion_face_marlin.model import MarlinAutoencoder, MarlinEncoder, initialise, sincos_table, to_tubelets

SMALL = MarlinGeometry(32, 48, 8, 4, 2, 24, 2, 4, 16, 1, 2)


def test_golden_encoder(golden: Path) -> None:
    """Patch tokens, sequence, pooled and masked sequence of the reference encoder, to 1e-5."""
    arrays = np.load(golden / "marlin_dev.npz")
    config = json.loads((golden / "marlin_dev.json").read_text())["config"]
    geometry = MarlinGeometry(
        config["img"],
        config["img"],
        config["patch"],
        config["frames"],
        config["tubelet"],
        config["dim"],
        config["depth"],
        config["heads"],
    )
    state = {f"encoder.{key[4:]}": torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith("enc/")}
    model = build_from_state(state, geometry)
    assert isinstance(model, MarlinEncoder)
    clips = torch.from_numpy(arrays["in/clip_u8"]).float() / 255.0
    visible = torch.from_numpy(arrays["in/visible_mask"])
    with torch.inference_mode():
        results = {
            "patch_tokens": model.patch_embedding(clips),
            "sequence": model(clips),
            "pooled": model.pooled(clips),
            "masked_sequence": model(clips, visible),
        }
    for name, got in results.items():
        torch.testing.assert_close(got, torch.from_numpy(arrays[f"out/{name}"]), atol=1e-5, rtol=1e-5)


def test_golden_position_table_is_exact(golden: Path) -> None:
    arrays = np.load(golden / "marlin_postable_dev.npz")
    table = sincos_table(1568, 768)[0].numpy()
    np.testing.assert_array_equal(table[arrays["rows"]], arrays["table768"])
    assert abs(table.astype(np.float64).sum() - float(arrays["sum768"])) < 1e-6


OFFICIAL = {"small": (384, 12, 192, 4), "base": (768, 12, 384, 4), "large": (1024, 24, 512, 12)}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_keys_and_shapes(name: str) -> None:
    """Every key and shape of the released full files."""
    width, depth, decoder_width, decoder_depth = OFFICIAL[name]
    wanted: dict[str, tuple[int, ...]] = {
        "encoder.patch_embedding.projection.weight": (width, 3, 2, 16, 16),
        "encoder.patch_embedding.projection.bias": (width,),
        "enc_dec_proj.weight": (decoder_width, width),
        "decoder.mask_token": (1, 1, decoder_width),
        "decoder.head.weight": (1536, decoder_width),
        "decoder.head.bias": (1536,),
    }
    for part, d, n in (("encoder", width, depth), ("decoder", decoder_width, decoder_depth)):
        wanted |= {
            f"{part}.pos_embedding.emb": (1, 1568, d),
            f"{part}.norm.weight": (d,),
            f"{part}.norm.bias": (d,),
        }
        for i in range(n):
            block = f"{part}.blocks.{i}"
            wanted |= {f"{block}.{norm}.{kind}": (d,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
            wanted |= {
                f"{block}.attn.q_bias": (d,),
                f"{block}.attn.v_bias": (d,),
                f"{block}.attn.qkv.weight": (3 * d, d),
                f"{block}.attn.proj.weight": (d, d),
                f"{block}.attn.proj.bias": (d,),
                f"{block}.mlp.layers.0.linear.weight": (4 * d, d),
                f"{block}.mlp.layers.0.linear.bias": (4 * d,),
                f"{block}.mlp.layers.1.linear.weight": (d, 4 * d),
                f"{block}.mlp.layers.1.linear.bias": (d,),
            }
    with torch.device("meta"):
        state = MarlinAutoencoder(GEOMETRIES[name]).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == wanted


def test_official_head_counts() -> None:
    heads = {name: (GEOMETRIES[name].heads, GEOMETRIES[name].decoder_heads) for name in OFFICIAL}
    assert heads == {"small": (6, 3), "base": (12, 6), "large": (16, 8)}
    assert {GEOMETRIES[name].n_tokens for name in OFFICIAL} == {1568}


def test_patch_embedding_equals_convolution() -> None:
    model = MarlinEncoder(SMALL)
    initialise(model, 0)
    clips = torch.rand(2, 3, 4, 32, 48)
    convolved = model.patch_embedding.projection(clips).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.patch_embedding(clips), convolved, atol=1e-5, rtol=1e-5)


def test_windows_over_shared_crops_equal_their_pixels() -> None:
    model = MarlinEncoder(SMALL)
    initialise(model, 0)
    crops = torch.randint(0, 256, (5, 32, 48, 3), dtype=torch.uint8)
    index = torch.tensor([[0, 0, 1, 1], [2, 3, 3, 4], [4, 4, 4, 4]])
    clips = crops[index].permute(0, 4, 1, 2, 3).float() / 255.0
    with torch.inference_mode():
        torch.testing.assert_close(
            model.patch_embedding.of_windows(crops, index), model.patch_embedding(clips), atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(model.pooled_windows(crops, index), model.pooled(clips), atol=1e-5, rtol=1e-5)


def test_non_square_grid_and_masked_decoding() -> None:
    """A 4 x 6 grid; the decoder answers for exactly the hidden tubelets, and only hidden ones do not matter."""
    assert SMALL.grid == (2, 4, 6)
    model = MarlinAutoencoder(SMALL)
    initialise(model, 1)
    model.eval()
    clips = torch.rand(2, 3, 4, 32, 48)
    visible = torch.zeros(2, 48, dtype=torch.bool)
    visible[0, ::4] = visible[1, 1::4] = True
    with torch.inference_mode():
        predicted = model(clips, visible)
        assert predicted.shape == (2, 36, SMALL.patch_values)
        tubelets = to_tubelets(clips, 8, 2)
        assert tubelets.shape == (2, 48, SMALL.patch_values)
        changed = clips.clone()
        changed[0, :, :2, :8, 8:16] = 0.0  # token 1 of the first clip: hidden
        torch.testing.assert_close(model(changed, visible), predicted)
        changed[0, :, :2, :8, :8] = 0.0  # token 0: visible
        assert not torch.allclose(model(changed, visible)[0], predicted[0])


def test_impossible_geometry_is_refused() -> None:
    with pytest.raises(ValueError, match="image_height by patch, got 50 / 16"):
        MarlinGeometry(image_height=50)
