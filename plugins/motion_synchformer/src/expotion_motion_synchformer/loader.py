"""Read weights strictly: any official layout in, every mismatch listed, nothing executed.

Layouts (facts 4.3): the released sync models hold a dictionary under `model` with the prefix `vfeat_extractor.`;
stage-I checkpoints one under `state_dict` with `v_encoder.` or `module.v_encoder.`; a bare state dict works too.
`patch_embed.proj.*` is present in all of them and used by none; it is checked and dropped. A file may also carry
`output.mean` and `output.std` [D] by which the rows are standardised; the official ones carry none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expotion.errors import Problem, WeightsError
from expotion_motion_synchformer.model import VisualEncoder
from expotion_motion_synchformer.options import Geometry

PREFIXES = ("vfeat_extractor.", "module.v_encoder.", "v_encoder.", "module.", "")
CONTAINERS = ("model", "state_dict")
SHIPPED = Path(__file__).parent / "weights" / "tiny.safetensors"
MAX_LISTED = 40


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, the rows' standardisation [D] (or None) and the file's digest."""

    model: VisualEncoder
    mean: Tensor | None
    std: Tensor | None
    sha256: str


def expected_shapes(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Every key of an official visual encoder with its shape, the unused 2-D patch embedding included."""
    with torch.device("meta"):
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
    mean, std = state.pop("output.mean", None), state.pop("output.std", None)
    problems = _compare(state, geometry, path)
    for name, value in (("output.mean", mean), ("output.std", std)):
        if value is not None and tuple(value.shape) != (geometry.dim,):
            problems.append(_wrong_shape(path, name, (geometry.dim,), tuple(value.shape)))
    if problems:
        raise WeightsError(problems)
    model = VisualEncoder(geometry)
    unused = _unused_shapes(geometry)
    model.load_state_dict(
        {key: value.float() for key, value in state.items() if key not in unused}, strict=True
    )
    return Loaded(
        model=model,
        mean=None if mean is None else mean.float(),
        std=None if std is None else std.float(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def read_file(path: Path) -> Mapping[str, Any]:
    """The mapping in a .safetensors file or in a torch file read with weights_only. Raises WeightsError."""
    if not path.is_file():
        raise WeightsError(
            Problem(str(path), "a weights file", "nothing there", "give the path of a downloaded checkpoint")
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - only for this format

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            Problem(
                str(path),
                "a readable file of plain tensors",
                f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no message'}",
                "download it again, or save its state dict as safetensors",
            )
        ) from error
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


def _compare(state: Mapping[str, Tensor], geometry: Geometry, path: Path) -> list[Problem]:
    expected = expected_shapes(geometry)
    optional = _unused_shapes(geometry)
    problems = [
        Problem(f"{path}: {key}", f"a tensor of shape {list(shape)}", "nothing")
        for key, shape in expected.items()
        if key not in state and key not in optional
    ]
    problems += [
        _wrong_shape(path, key, expected[key], tuple(value.shape))
        for key, value in state.items()
        if key in expected and tuple(value.shape) != expected[key]
    ]
    problems += [
        Problem(f"{path}: {key}", "no such tensor in this geometry", f"shape {list(value.shape)}")
        for key, value in state.items()
        if key not in expected
    ]
    if len(problems) > MAX_LISTED:
        left = len(problems) - MAX_LISTED
        problems = [
            *problems[:MAX_LISTED],
            Problem(str(path), f"{left} more differences", fix="check the geometry"),
        ]
    return problems


def _wrong_shape(path: Path, key: str, wanted: tuple[int, ...], got: tuple[int, ...]) -> Problem:
    return Problem(f"{path}: {key}", f"shape {list(wanted)}", str(list(got)))
