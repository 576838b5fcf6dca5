"""Read weights strictly: princeton's or torchvision's names in, every mismatch listed, nothing executed.

Princeton's files (`raft-things.pth` and the others) are flat state dicts with the prefix `module.`; their names are
turned into torchvision's by the table of facts 5.2. The norm numbered one above the last convolution of a strided
block is the same tensor as `downsample.1` and is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from expotion import weights
from expotion.errors import Problem, WeightsError
from expotion_motion_raft.model import build_raft, seed_weights
from expotion_motion_raft.options import GEOMETRIES

SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"

_ENCODER_RULES = (
    (r"^conv1\.", "convnormrelu.0."),
    (r"^norm1\.", "convnormrelu.1."),
    (r"^(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"^(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^conv2\.", "conv."),
)
_MOTION = {"convc1": "convcorr1", "convc2": "convcorr2", "convf1": "convflow1", "convf2": "convflow2"}
_UPDATE_RULES = (
    (r"^encoder\.(convc1|convc2|convf1|convf2)\.", lambda m: f"motion_encoder.{_MOTION[m[1]]}.0."),
    (r"^encoder\.conv\.", "motion_encoder.conv.0."),
    (r"^gru\.conv([zrq])([12])\.", r"recurrent_block.convgru\2.conv\1."),
    (r"^gru\.conv([zrq])\.", r"recurrent_block.convgru1.conv\1."),
)


def torchvision_name(name: str, *, doubled: str) -> str | None:
    """Princeton's parameter name (without `module.`) as torchvision's; None for the `doubled` norm (`norm3` in
    large, `norm4` in small), which is dropped.

    Names that the table does not know come back unchanged, so that the strict comparison reports them.
    """
    for old, new in (("fnet.", "feature_encoder."), ("cnet.", "context_encoder.")):
        if name.startswith(old):
            rest = name[len(old) :]
            if re.match(rf"^layer\d\.\d\.{doubled}\.", rest):
                return None
            for pattern, replacement in _ENCODER_RULES:
                rest, changed = re.subn(pattern, replacement, rest)
                if changed:
                    break
            return new + rest
    if name.startswith("update_block.mask."):
        return name.replace("update_block.mask.0.", "mask_predictor.convrelu.0.").replace(
            "update_block.mask.2.", "mask_predictor.conv."
        )
    if name.startswith("update_block."):
        rest = name[len("update_block.") :]
        for update_pattern, update_replacement in _UPDATE_RULES:
            rest, changed = re.subn(update_pattern, update_replacement, rest)
            if changed:
                break
        return f"update_block.{rest}"
    return name


def to_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of either kind with torchvision's names."""
    bare = {key.removeprefix("module."): value for key, value in state.items()}
    if not any(key.startswith(("fnet.", "cnet.")) for key in bare):
        return bare
    doubled = "norm4" if any(re.search(r"layer\d\.\d\.conv3\.", key) for key in bare) else "norm3"
    named = ((torchvision_name(key, doubled=doubled), value) for key, value in bare.items())
    return {key: value for key, value in named if key is not None}


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch file read with weights_only. Raises WeightsError."""
    content = weights.read(path)
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(Problem(str(path), "a state dict (names to tensors)", type(content).__name__))
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def write_seeded(folder: Path, geometry: str) -> Path:
    """Torchvision's file of a RAFT with random weights; returns the file."""
    model = build_raft(GEOMETRIES[geometry])
    seed_weights(model, 0)
    path = folder / f"raft_{geometry}_C_T_V1.pth"
    torch.save(model.state_dict(), path)
    return path
