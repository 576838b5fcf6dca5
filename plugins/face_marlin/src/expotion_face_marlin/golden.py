"""Golden files of MARLIN's encoder and of its position table (`expotion verify`)."""

from __future__ import annotations

import re

import numpy as np
import torch

from expotion.contracts import GoldenFile
from expotion.errors import Problem, WeightsError
from expotion_face_marlin.geometry import MarlinGeometry
from expotion_face_marlin.loader import build_from_state
from expotion_face_marlin.model import MarlinEncoder, sincos_table

TOLERANCE = 1e-5
OFFICIAL_TOKENS = 1568


def check_marlin(golden: GoldenFile) -> None:
    """Patch tokens, sequence, pooled and masked sequence of an encoder under the official keys."""
    state = {f"encoder.{key}": torch.from_numpy(value) for key, value in golden.under("enc/").items()}
    pixels = golden.array("in/clip_u8")  # [B, 3, T, H, W]
    model = build_from_state(state, _geometry(golden, state, pixels.shape), where="enc/")
    if not isinstance(model, MarlinEncoder):
        raise WeightsError(Problem("enc/", "an encoder without decoder", "an autoencoder"))
    clips = torch.from_numpy(pixels).float() / 255.0
    visible = torch.from_numpy(golden.array("in/visible_mask"))
    with torch.inference_mode():
        golden.compare("patch tokens", model.patch_embedding(clips), "out/patch_tokens", TOLERANCE)
        golden.compare("sequence", model(clips), "out/sequence", TOLERANCE)
        golden.compare("pooled", model.pooled(clips), "out/pooled", TOLERANCE)
        golden.compare("masked sequence", model(clips, visible), "out/masked_sequence", TOLERANCE)
    table = sincos_table(model.geometry.n_tokens, model.geometry.width)
    # The table is in the file; float32 rounding at large positions is up to 1e-4 off an exact one.
    golden.compare("position table", table, golden.array("enc/pos_embedding.emb"), 1e-4)


def _geometry(golden: GoldenFile, state: dict[str, torch.Tensor], shape: tuple[int, ...]) -> MarlinGeometry:
    """Sizes from the shapes; the heads, which none shows, from the JSON."""
    key = "encoder.patch_embedding.projection.weight"
    if key not in state or state[key].ndim != 5:
        raise WeightsError(Problem(f"enc/ {key}", "a kernel [D, 3, t, p, p]"))
    width, _, tubelet, patch, _ = state[key].shape
    blocks = {match[1] for name in state if (match := re.match(r"encoder\.blocks\.(\d+)\.", name))}
    hidden = state.get("encoder.blocks.0.mlp.layers.0.linear.weight")
    try:
        return MarlinGeometry(
            image_height=shape[3],
            image_width=shape[4],
            patch=patch,
            n_frames=shape[2],
            tubelet=tubelet,
            width=width,
            depth=len(blocks),
            heads=int(golden.setting("config", "heads")),
            decoder_width=width,
            decoder_heads=1,
            mlp_ratio=4 if hidden is None else hidden.shape[0] // width,
        )
    except ValueError as error:
        raise WeightsError(Problem("enc/", str(error))) from error


def check_table(golden: GoldenFile) -> None:
    """Rows of the fixed table at its real size, bit for bit, and the sum over all of it."""
    size = re.search(r"(\d+) x \d+", str(golden.about.get("what", "")))
    n_tokens = int(size[1]) if size else OFFICIAL_TOKENS
    rows = golden.array("rows")
    found = (re.fullmatch(r"(?:table|sum)(\d+)", name) for name in golden.names)
    widths = sorted({match[1] for match in found if match})
    if not widths:
        raise WeightsError(Problem("marlin_postable", "an array tableWIDTH", "none"))
    for width in widths:
        table = sincos_table(max(n_tokens, int(rows.max()) + 1), int(width))[0].numpy()
        golden.compare("rows", table[rows], f"table{width}", 0.0)
        golden.compare("sum", table[:n_tokens].astype(np.float64).sum(), f"sum{width}", 1e-6)
