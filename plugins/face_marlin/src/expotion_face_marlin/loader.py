"""Weights files to networks: official `*.encoder.pt`, `*.full.pt`, `.ckpt`, the Hugging Face form, safetensors.

Every file is read without running code from it, and every key and shape that does not fit is listed at once.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from expotion.errors import Problem, WeightsError
from expotion_face_marlin.geometry import MarlinGeometry
from expotion_face_marlin.model import MarlinAutoencoder, MarlinEncoder

HEAD_WIDTH = 64
"""Width of an attention head in every official size: the state dict does not tell it."""

HUB_PREFIX = "marlin."
"""Before every key in the Hugging Face form, whose wrapper keeps the network under this name."""

State = dict[str, Tensor]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_state(path: Path) -> State:
    """Flat state dict of a file: safetensors, a plain torch file, or a lightning checkpoint.

    A checkpoint's `discriminator*` entries are dropped. Raises WeightsError when the file is missing, is not
    one of these, or holds anything but tensors.
    """
    where = str(path)
    if not path.is_file():
        raise WeightsError(Problem(where, "a file of MARLIN weights", "no such file", "check the path"))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - only for this format

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "download the official file again; files that need unsafe pickles are refused"
        raise WeightsError(Problem(where, "tensors only", first_line[:200], fix)) from error
    except Exception as error:  # safetensors raises its own type, which is not a subclass of the above
        raise WeightsError(Problem(where, "a readable weights file", str(error)[:200])) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = {k: v for k, v in state["state_dict"].items() if not str(k).startswith("discriminator")}
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(Problem(where, "a state dict: names and tensors", type(state).__name__))
    if all(str(key).startswith(HUB_PREFIX) for key in state):
        state = {str(key).removeprefix(HUB_PREFIX): value for key, value in state.items()}
    strangers = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError([Problem(f"{where} {key}", "a tensor", "something else") for key in strangers])
    return {str(key): value for key, value in state.items()}


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
    with torch.device("meta"):
        model: nn.Module = MarlinAutoencoder(geometry) if full else _EncoderOnly(geometry)
    check_state(state, model, where)
    model.to_empty(device="cpu")
    model.load_state_dict({key: value.float() for key, value in state.items()})
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


def check_state(state: Mapping[str, Tensor], model: nn.Module, where: str) -> None:
    """Raise WeightsError with every missing, unexpected and differently shaped key."""
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    problems = [
        Problem(f"{where} {key}", f"a tensor of shape {shape}", "no such key")
        for key, shape in wanted.items()
        if key not in state
    ]
    for key, value in state.items():
        if key not in wanted:
            problems.append(Problem(f"{where} {key}", "no such key", f"shape {tuple(value.shape)}"))
        elif tuple(value.shape) != wanted[key]:
            problems.append(Problem(f"{where} {key}", f"shape {wanted[key]}", f"{tuple(value.shape)}"))
        elif not value.is_floating_point():
            problems.append(Problem(f"{where} {key}", "floating-point values", str(value.dtype)))
    if problems:
        raise WeightsError(problems)


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
