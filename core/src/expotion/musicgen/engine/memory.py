"""Whether it fits: bytes of weights, caches and prefix against what is free, before anything is allocated."""

from __future__ import annotations

import torch

from expotion import machine
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.geometry import LMGeometry, parameter_count

SPARE_BYTES = 64 * 2**20
"""Left for everything that is not counted."""
_BITS = {"fp32": 32, "bf16": 16, "fp16": 16, "int8": 8}


def weight_bytes(geometry: LMGeometry, mode: str) -> int:
    """Bytes of the packed weights. In int8 cross-attention and embeddings stay in 16 bits."""
    numbers = parameter_count(geometry)
    if mode != "int8":
        return numbers * _BITS[mode] // 8
    d = geometry.width
    wide = geometry.n_layers * 4 * d * d + geometry.n_codebooks * (geometry.card + 1) * d
    return (numbers - wide) + 2 * wide


def state_bytes(
    geometry: LMGeometry,
    dtype: torch.dtype,
    n_rows: int,
    n_positions: int,
    text_length: int,
    prefix_rows: int,
) -> int:
    """Bytes of what one clip's generation holds: caches, the text's keys and values, the prefix's q, k, v.

    `n_rows`: rows of the batch; `prefix_rows`: rows of prefix over all clips.
    """
    numbers = (
        geometry.n_layers * geometry.width * (2 * n_rows * (n_positions + text_length) + 3 * prefix_rows)
    )
    return numbers * dtype.itemsize


def check(needed: int, device: torch.device, what: str, fix: str) -> None:
    """ExpotionError that says what was needed, what there was and what lowers it, where it does not fit."""
    free = machine.free_bytes(device)
    if free is None or needed + SPARE_BYTES <= free:
        return
    raise ExpotionError(
        Problem(
            where=f"memory ({device})",
            wanted=f"{size(needed)} for {what}",
            got=f"{size(free)} free",
            fix=f"lower it with {fix}",
        )
    )


def size(n_bytes: int) -> str:
    """12.3 GB, 45 MB."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
