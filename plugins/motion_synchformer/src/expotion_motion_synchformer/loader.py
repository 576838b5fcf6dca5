"""Read weights strictly: any official layout in, every mismatch listed, nothing executed.

Layouts (facts 4.3): the released sync models hold a dictionary under `model` with the prefix `vfeat_extractor.`;
stage-I checkpoints one under `state_dict` with `v_encoder.` or `module.v_encoder.`; a bare state dict works too.
`patch_embed.proj.*` is present in all of them and used by none; it is checked and dropped. A file may also carry
`output.mean` and `output.std` [D] by which the rows are standardised; the official ones carry none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expotion import weights
from expotion.errors import Problem, WeightsError
from expotion_motion_synchformer.model import VisualEncoder, seeded
from expotion_motion_synchformer.options import GEOMETRIES, Geometry

PREFIXES = ("vfeat_extractor.", "module.v_encoder.", "v_encoder.", "module.", "")
CONTAINERS = ("model", "state_dict")
SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, the rows' standardisation [D] (or None) and the file's digest."""

    model: VisualEncoder
    mean: Tensor | None
    std: Tensor | None
    sha256: str


def expected_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Every key of an official visual encoder with its shape, the unused 2-D patch embedding included."""
    with torch.device("meta"), weights.undrawn():
        shapes = {key: tuple(value.shape) for key, value in VisualEncoder(geometry).state_dict().items()}
    return shapes | _unused_shapes(geometry)


def _unused_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    return {
        "patch_embed.proj.weight": (geometry.dim, 3, geometry.patch, geometry.patch),
        "patch_embed.proj.bias": (geometry.dim,),
    }


def load(path: Path, geometry: Geometry) -> Loaded:
    """Read a weights file into an encoder of this geometry.

    Raises WeightsError where the file is missing, cannot be read safely, or does not fit: all differences at once.
    """
    state = encoder_state(read_file(path), path)
    statistics = ("output.mean", "output.std")
    wanted = expected_shapes(geometry) | {name: (geometry.dim,) for name in statistics if name in state}
    unused = _unused_shapes(geometry)
    weights.check_tensors(
        state, {name: shape for name, shape in wanted.items() if name in state or name not in unused}, str(path)
    )
    mean, std = (state[name].float() if name in state else None for name in statistics)
    with weights.undrawn():
        model = VisualEncoder(geometry)
    weights.fill(model, state, str(path), ignored=(*unused, *statistics))
    return Loaded(model, mean, std, weights.sha256(path))


def read_file(path: Path) -> Mapping[str, Any]:
    """The mapping in a file, containers and all. Raises WeightsError."""
    content = weights.read(path)
    if not isinstance(content, Mapping):
        raise WeightsError(Problem(str(path), "a dictionary of tensors", type(content).__name__))
    return content


def encoder_state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The visual encoder's tensors with their bare names, out of any official layout. Raises WeightsError."""
    for container in CONTAINERS:
        if isinstance(content.get(container), Mapping):
            content = content[container]
            break
    for prefix in PREFIXES:
        if f"{prefix}patch_embed_3d.proj.weight" in content:
            return {
                key[len(prefix) :]: value
                for key, value in content.items()
                if key.startswith(prefix) and isinstance(value, Tensor)
            }
    raise WeightsError(
        Problem(
            str(path),
            "a Synchformer checkpoint with patch_embed_3d.proj.weight under one of the prefixes "
            + ", ".join(repr(prefix) for prefix in PREFIXES),
            f"{len(content)} keys such as {', '.join(sorted(map(str, content))[:3]) or 'none'}",
        )
    )


def write_seeded(folder: Path) -> Path:
    """A released sync model's file, as far as the visual encoder goes, with random weights; returns the file."""
    state = dict(seeded(GEOMETRIES["base"], 0).state_dict())
    state |= {name: torch.zeros(shape) for name, shape in _unused_shapes(GEOMETRIES["base"]).items()}
    path = folder / "24-01-04T16-39-21.pt"
    torch.save({CONTAINERS[0]: {f"{PREFIXES[0]}{name}": tensor for name, tensor in state.items()}}, path)
    return path
