"""Weights files to networks: official `*.encoder.pt`, `*.full.pt`, `.ckpt`, the Hugging Face form, safetensors.

Every file is read without running code from it, and every key and shape that does not fit is listed at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from expotion import weights
from expotion.errors import Problem, WeightsError
from expotion_face_marlin.geometry import GEOMETRIES, MarlinGeometry
from expotion_face_marlin.model import MarlinAutoencoder, MarlinEncoder, initialise

HEAD_WIDTH = 64
"""Width of an attention head in every official size: the state dict does not tell it."""

HUB_PREFIX = "marlin."
"""Before every key in the Hugging Face form, whose wrapper keeps the network under this name."""

State = dict[str, Tensor]


def read_state(path: Path) -> State:
    """Flat state dict of a file: safetensors, a plain torch file, or a lightning checkpoint.

    A checkpoint's `discriminator*` entries are dropped. Raises WeightsError when the file is missing, is not
    one of these, or holds anything but tensors.
    """
    state = {
        name: tensor
        for name, tensor in weights.read_state(path, ("state_dict",)).items()
        if not name.startswith("discriminator")
    }
    if all(name.startswith(HUB_PREFIX) for name in state):
        return {name.removeprefix(HUB_PREFIX): tensor for name, tensor in state.items()}
    return state


def infer_geometry(
    state: Mapping[str, Tensor],
    *,
    where: str = "state dict",
    heads: int | None = None,
    decoder_heads: int | None = None,
    n_frames: int = 16,
    image_size: tuple[int, int] | None = None,
) -> MarlinGeometry:
    """Geometry from shapes: widths, depths, patch and tubelet are read, the rest is given or official.

    Not in the shapes: `heads` (default: heads of 64, as in every official size), `n_frames` (16) and
    `image_size` (height, width; default: the square that the number of positions tells).
    """
    for key in ("encoder.patch_embedding.projection.weight", "encoder.pos_embedding.emb"):
        if key not in state:
            raise WeightsError(Problem(where, f"the key {key}", "none", "is this a MARLIN file?"))
    kernel = state["encoder.patch_embedding.projection.weight"]
    positions = state["encoder.pos_embedding.emb"]
    if kernel.ndim != 5 or positions.ndim != 3:
        got = f"{tuple(kernel.shape)} and {tuple(positions.shape)}"
        raise WeightsError(Problem(where, "a patch kernel [D, 3, t, p, p] and positions [1, N, D]", got))
    width, _, tubelet, patch, _ = kernel.shape
    if image_size is None:
        side = patch * round((positions.shape[1] * tubelet / n_frames) ** 0.5)
        image_size = (side, side)
    decoder_width = state["enc_dec_proj.weight"].shape[0] if "enc_dec_proj.weight" in state else width // 2
    try:
        return MarlinGeometry(
            image_height=image_size[0],
            image_width=image_size[1],
            patch=patch,
            n_frames=n_frames,
            tubelet=tubelet,
            width=width,
            depth=_depth(state, "encoder"),
            heads=heads or max(1, width // HEAD_WIDTH),
            decoder_width=decoder_width,
            decoder_depth=_depth(state, "decoder"),
            decoder_heads=decoder_heads or max(1, decoder_width // HEAD_WIDTH),
        )
    except ValueError as error:
        fix = "give heads, n_frames and image_size for weights of an unusual size"
        raise WeightsError(Problem(where, str(error), fix=fix)) from error


def build_from_state(
    state: Mapping[str, Tensor], geometry: MarlinGeometry | None = None, *, where: str = "state dict"
) -> MarlinAutoencoder | MarlinEncoder:
    """Network with these weights, in eval mode and frozen, float32.

    A state dict with any `decoder.` key is a whole autoencoder, else an encoder (keys keep their `encoder.`
    prefix). The geometry is inferred where it is not given. Raises WeightsError listing all differences.
    """
    geometry = geometry or infer_geometry(state, where=where)
    full = any(key.startswith("decoder.") for key in state)
    with weights.undrawn():
        model: nn.Module = MarlinAutoencoder(geometry) if full else _EncoderOnly(geometry)
    weights.fill(model, state, where)
    model.requires_grad_(False).eval()
    if isinstance(model, _EncoderOnly):
        return model.encoder
    assert isinstance(model, MarlinAutoencoder)
    return model


def load_encoder(path: Path, geometry: MarlinGeometry) -> MarlinEncoder:
    """Encoder of this geometry from any readable file; a decoder in the file is checked, then dropped."""
    state = read_state(path)
    if any(key.startswith("decoder.") for key in state):
        geometry = _with_decoder_of(state, geometry)
    model = build_from_state(state, geometry, where=str(path))
    return model.encoder if isinstance(model, MarlinAutoencoder) else model


def write_seeded(folder: Path, geometry: str) -> Path:
    """An `*.encoder.pt` of an official size with random weights; returns the file."""
    model = _EncoderOnly(GEOMETRIES[geometry])
    initialise(model.encoder, 0)
    path = folder / f"marlin_vit_{geometry}_ytf.encoder.pt"
    torch.save(model.state_dict(), path)
    return path


class _EncoderOnly(nn.Module):
    """Gives the encoder the prefix that its keys have in a file."""

    def __init__(self, geometry: MarlinGeometry) -> None:
        super().__init__()
        self.encoder = MarlinEncoder(geometry)


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    pattern = re.compile(rf"{part}\.blocks\.(\d+)\.")
    return len({match.group(1) for key in state if (match := pattern.match(key))})


def _with_decoder_of(state: Mapping[str, Tensor], geometry: MarlinGeometry) -> MarlinGeometry:
    """The same encoder beside the decoder that the file holds, so that only real faults are reported."""
    projection = state.get("enc_dec_proj.weight")
    if projection is None or projection.ndim != 2 or not _depth(state, "decoder"):
        return geometry
    width = projection.shape[0]
    heads = max(1, width // HEAD_WIDTH)
    if width % heads:
        return geometry
    return replace(geometry, decoder_width=width, decoder_depth=_depth(state, "decoder"), decoder_heads=heads)
