"""Backbones and the engines that run them: which MusicGen, and what computes its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Mode = Literal["fp32", "bf16", "fp16", "int8"]
"""What an engine keeps and multiplies the decoder's matrices in."""


@dataclass(frozen=True)
class BackboneSpec:
    """A MusicGen that a recipe can name. `locate()` returns a folder in the layout of transformers' MusicGen.

    `default_adaptor()` is a trained adaptor's folder, for `expotion generate` without --adaptor. `adaptors`: those
    that ship, by the name that --adaptor takes, the best first; where the weights of the encoders of one before the
    default are here, it is used in its place. `train_cost_s` and
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
    adaptors: Mapping[str, Callable[[], Path]] = field(default_factory=dict)


@dataclass(frozen=True)
class Probed:
    """What was measured of one way to compute: `seconds` of each try, at least three; `error` against float32.

    The error is |got - wanted| / |wanted| (norms), the largest over what was tried. Tries of several ways take
    turns, so that try i of each met the same load.
    """

    seconds: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class EngineSpec:
    """A way to compute the decoder's steps, for a kind of machine.

    `can_run(mode, device)` is cheap: it says whether this machine has what the engine takes, and imports nothing
    that may be missing. `build(lm, mode)` makes the engine of a `MusicGenLM` on its device: an object with the
    methods of core's `Engine`. Of the engines that can run, the one with the highest `priority` is used; the first
    by name where two are equal. Core's own have 0 (any machine) and 10 (CUDA).

    `probe(modes, device)` times the engine's own step in each mode and compares it with float32, in some tenths of
    a second once what it compiles is there; what is measured decides what `auto` stands for. An engine without a
    probe is judged by a product of two rows. `compile()` makes, or finds on disk, what the engine compiles before
    its first step; it may be called from a thread while the clip is looked at.
    """

    name: str
    description: str
    can_run: Callable[[Mode, torch.device], bool]
    build: Callable[[Any, Mode], Any]
    priority: int = 20
    probe: Callable[[Sequence[Mode], torch.device], Mapping[Mode, Probed]] | None = None
    compile: Callable[[], object] | None = None
