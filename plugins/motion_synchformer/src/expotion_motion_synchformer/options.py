"""Geometries and options: plain data, imported when the plugin is discovered (no torch here)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from expotion.contracts import Options


@dataclass(frozen=True)
class Geometry:
    """Sizes of the visual encoder (facts 4.1). `image` and `patch` in pixels, `frames` per segment.

    `resize` is the shorter side before the centre crop of `image`, as the reference does it; None fits the whole
    frame into the square instead and pads the rest with grey. `segment_step` is the default step between segments.
    `look`: the frame is fitted into a square of this many pixels, of which the part that moves is taken (`place`).
    """

    image: int
    patch: int
    frames: int
    tubelet: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    resize: int | None = None
    segment_step: int = 16
    between: Literal["blend", "nearest"] = "nearest"
    look: int | None = None

    @property
    def frame_px(self) -> int:
        """Side of the square that holds a frame."""
        return self.look or self.image

    @property
    def rows(self) -> int:
        """Time steps t of one segment: frames / tubelet."""
        return self.frames // self.tubelet

    @property
    def patches(self) -> int:
        """Patches of one time step."""
        return (self.image // self.patch) ** 2


_TINY = Geometry(
    image=48,
    patch=12,
    frames=32,
    tubelet=2,
    dim=96,
    depth=3,
    heads=3,
    mlp_ratio=2,
    segment_step=24,
    between="blend",
)
GEOMETRIES: dict[str, Geometry] = {
    "tiny": _TINY,
    "tiny_moving": replace(_TINY, look=96),
    "base": Geometry(
        image=224, patch=16, frames=16, tubelet=2, dim=768, depth=12, heads=12, resize=256, segment_step=8
    ),
}
"""`base` is the released model's geometry; `tiny` ships with weights trained on conductors; `tiny_moving` is
as large and looks at what moves, for weights of `train/tiny.py`."""


TOKENS_AT_ONCE = 2100
"""Tokens in one forward pass where the options do not give the batch size."""


class SynchformerOptions(Options):
    """Options of `motion_synchformer`.

    `weights`: None takes the shipped file (tiny) and is an error for the others; `seeded` means random weights made
    from `seed`; anything else is a path to a .safetensors, .pt, .pth or .ckpt file in any of the official layouts.
    `segment_step_frames`: frames between the starts of two segments; None is the geometry's default (tiny 24 of 32,
    base 8 of 16 as the released sync models; 16 is their stage I; 5 is the paper's stride).
    `between`: the picture between two source frames: `nearest` takes the nearer one, as re-encoding to 25 fps does;
    `blend` mixes both by nearness, which at 12 fps keeps a movement going instead of stopping it at every other
    picture. None is the geometry's default (tiny: blend, base: nearest).
    `overlap`: what becomes of rows of two segments with the same time: `central` keeps the one nearest to
    the middle of its segment, `average` their mean.
    `windows`: `cover` starts at 0 and covers the whole clip, `reference` is the reference's centred enumeration
    (floor((n - frames) / step) + 1 segments), which leaves both ends of a clip out.
    `batch_size`: segments in one forward pass; None goes by their tokens: 8 of tiny, 1 of base.
    `precision` of the matrix products: `auto` is bfloat16 for `base` where that is right and faster, else float32.
    """

    geometry: Literal["tiny", "tiny_moving", "base"] = "tiny"
    weights: Path | Literal["seeded"] | None = None
    seed: int = Field(default=0, ge=0)
    fps: float = Field(default=25.0, gt=0, le=120)
    segment_step_frames: int | None = Field(default=None, ge=1, le=64)
    between: Literal["blend", "nearest"] | None = None
    overlap: Literal["central", "average"] = "central"
    windows: Literal["cover", "reference"] = "cover"
    batch_size: int | None = Field(default=None, ge=1, le=1024)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "cpu"

    @property
    def segments_at_once(self) -> int:
        """Segments in one forward pass: as many as keep a layer's activations in a core's caches."""
        geometry = GEOMETRIES[self.geometry]
        return self.batch_size or max(1, TOKENS_AT_ONCE // (1 + geometry.rows * geometry.patches))

    def runs_in(self, has_bfloat16: bool) -> Literal["float32", "bfloat16"]:
        """The precision, with `auto` decided."""
        if self.precision == "auto":
            return "bfloat16" if has_bfloat16 and self.geometry == "base" else "float32"
        return self.precision

    @property
    def step_frames(self) -> int:
        """The step between segments in frames, the geometry's default where none is given."""
        return self.segment_step_frames or GEOMETRIES[self.geometry].segment_step

    @property
    def rate_hz(self) -> float:
        """Rows per second after overlapping segments are merged (12.5 with the defaults)."""
        return self.fps / math.gcd(self.step_frames, GEOMETRIES[self.geometry].tubelet)
