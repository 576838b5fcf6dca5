"""Backbones and the engines that run them: which MusicGen, and what computes its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Mode = Literal["fp32", "bf16", "fp16", "int8"]
"""What an engine keeps and multiplies the decoder's matrices in."""


@dataclass(frozen=True)
class BackboneSpec:
    """A MusicGen that a recipe can name. `locate()` returns a folder in the layout of transformers' MusicGen.

    `default_adaptor()` is a trained adaptor's folder, for `expotion generate` without --adaptor. `train_cost_s` and
    `generate_cost_s` are processor seconds of one core: per training step and second of clip in its batch, and per
    second of music (None: estimated from the arithmetic). `default`: recipes that name no backbone get this one.
    """

    name: str
    description: str
    locate: Callable[[], Path]
    licence: str = "Apache-2.0"
    non_commercial: bool = False
    default_adaptor: Callable[[], Path] | None = None
    train_cost_s: float | None = None
    generate_cost_s: float | None = None
    default: bool = False


@dataclass(frozen=True)
class EngineSpec:
    """A way to compute the decoder's steps, for a kind of machine.

    `can_run(mode, device)` is cheap: it says whether this machine has what the engine takes, and imports nothing
    that may be missing. `build(lm, mode)` makes the engine of a `MusicGenLM` on its device: an object with the
    methods of core's `Engine`. Of the engines that can run, the one with the highest `priority` is used; the first
    by name where two are equal. Core's own have 0 (any machine) and 10 (CUDA).
    """

    name: str
    description: str
    can_run: Callable[[Mode, torch.device], bool]
    build: Callable[[Any, Mode], Any]
    priority: int = 20
