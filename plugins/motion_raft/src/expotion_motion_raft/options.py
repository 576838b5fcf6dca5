"""Geometries and options: plain data, imported when the plugin is discovered (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from expotion.contracts import Options

WIDTH = 256
"""D: the values per row after pooling (paper eq. 5)."""

FLOW_GRID = 32
"""Cells along each side of the flow that is handed on where the CNN is trainable."""


@dataclass(frozen=True)
class Geometry:
    """Widths of a RAFT and the settings that go with it (facts 5.1).

    `feature` and `context` are the five widths of the encoders; the context's last width is `hidden` plus the
    context channels. `square`: pictures are fitted into a square of `side` pixels, else `side` is the shorter side.
    `apart_s`: time between the two pictures of a flow, None for one period of `rate_hz`.
    """

    feature: tuple[int, int, int, int, int]
    context: tuple[int, int, int, int, int]
    bottleneck: bool
    context_norm: bool
    levels: int
    radius: int
    corr: tuple[int, ...]
    flow: tuple[int, int]
    motion: int
    hidden: int
    separable_gru: bool
    head: int
    convex_upsampling: bool
    side: int
    square: bool
    rate_hz: float
    iterations: int
    pool: int
    apart_s: float | None = None

    @property
    def min_side(self) -> int:
        """Smallest picture side: the coarsest correlation level must keep two pixels (128 for four levels)."""
        return 16 << (self.levels - 1)


GEOMETRIES: dict[str, Geometry] = {
    "tiny": Geometry(
        feature=(16, 16, 24, 32, 64), context=(16, 16, 24, 32, 56), bottleneck=True, context_norm=False,
        levels=3, radius=3, corr=(48,), flow=(32, 16), motion=40, hidden=32, separable_gru=False, head=48,
        convex_upsampling=False, side=80, square=True, rate_hz=12.5, iterations=3, pool=4,
        apart_s=0.04,
    ),
    "small": Geometry(
        feature=(32, 32, 64, 96, 128), context=(32, 32, 64, 96, 160), bottleneck=True, context_norm=False,
        levels=4, radius=3, corr=(96,), flow=(64, 32), motion=82, hidden=96, separable_gru=False, head=128,
        convex_upsampling=False, side=256, square=False, rate_hz=5.0, iterations=12, pool=1,
    ),
    "large": Geometry(
        feature=(64, 64, 96, 128, 256), context=(64, 64, 96, 128, 256), bottleneck=False, context_norm=True,
        levels=4, radius=4, corr=(256, 192), flow=(128, 64), motion=128, hidden=128, separable_gru=True, head=256,
        convex_upsampling=True, side=256, square=False, rate_hz=5.0, iterations=12, pool=1,
    ),
}  # fmt: skip
"""`small` and `large` are RAFT's own; `tiny` is DIS flow's picture and CNN, and a RAFT to try the sizes with."""


class FlowOptions(Options):
    """What both kinds of flow share.

    `cnn`: the flow CNN: None takes the shipped one (DIS flow) or frozen weights from `seed`, `seeded` those from
    `seed`, `trainable` hands on the flow itself, on a grid of 32 x 32 cells, and puts the CNN before the adaptor's
    projection, trained and saved with it; anything else is a path to a safetensors file written by the training
    script.
    `rate_hz`: rows per second; None is 5 as in the paper for small and large, 12.5 for tiny and DIS (5 cannot carry
    a pulse above 130 beats per minute).
    `apart_s`: seconds between the two pictures of a flow; None is one period of the rate for small and large, as in
    the paper, and 0.04 for tiny and DIS, where a row is the mean of the flows in its period: the nearer two
    pictures, the truer their flow, and the less a source's frame rate matters.
    `last`: what stands for the flow after the last picture: nothing (`none`: n pictures give n - 1 rows)
    or the last flow again (`repeat`: n rows; not where `apart_s` is below a period, for there each has its flow).
    """

    cnn: Path | Literal["seeded", "trainable"] | None = None
    seed: int = Field(default=0, ge=0)
    rate_hz: float | None = Field(default=None, gt=0, le=60)
    apart_s: float | None = Field(default=None, gt=0, le=1)
    last: Literal["none", "repeat"] = "none"
    batch_size: int = Field(default=16, ge=1, le=1024)
    device: str = "cpu"
    method: ClassVar[Literal["raft", "dis"]]

    @property
    def sizes(self) -> Geometry:
        """Sizes of pictures and models."""
        return GEOMETRIES["tiny"]

    @property
    def cnn_is_seeded(self) -> bool:
        """Whether the flow CNN's weights are made from `seed`: the shipped one reads DIS flow."""
        return self.cnn == "seeded" or (self.cnn is None and self.method == "raft")

    @property
    def cnn_is_trainable(self) -> bool:
        """Whether the track is the flow itself and the CNN part of the adaptor."""
        return self.cnn == "trainable"

    @property
    def width(self) -> int:
        """D: 256, or the flow's values on its grid where the CNN is trainable."""
        return 2 * FLOW_GRID**2 if self.cnn_is_trainable else WIDTH

    @property
    def seconds_apart(self) -> float:
        """Time between the two pictures of a flow, the geometry's default where none is given."""
        return self.apart_s or self.sizes.apart_s or 1.0 / self.pairs_per_s

    @property
    def pairs_per_s(self) -> float:
        """Rows per second, the geometry's default where none is given."""
        return self.rate_hz or self.sizes.rate_hz


class DisOptions(FlowOptions):
    """Options of `motion_dis`: OpenCV's DIS flow, which needs no weights, in the tiny geometry."""

    method = "dis"


class RaftOptions(FlowOptions):
    """Options of `motion_raft`.

    `weights` of RAFT: None is the pulled file, or an error; `seeded` means random weights made from `seed`, to try
    the sizes; anything else is a path to princeton's or torchvision's file. No file holds a `tiny` RAFT.
    `iterations`: flow updates; None is 3 (tiny) or 12.
    """

    method = "raft"
    geometry: Literal["tiny", "small", "large"] = "large"
    weights: Path | Literal["seeded"] | None = None
    iterations: int | None = Field(default=None, ge=1, le=64)

    @model_validator(mode="before")
    @classmethod
    def _dis_flow_has_its_own_name(cls, values: Any) -> Any:
        """Recipes and adaptors of before say `flow`, and meant DIS flow by `tiny` alone."""
        if not isinstance(values, dict):
            return values
        given = dict(values)
        flow = given.pop("flow", None)
        if flow == "dis" or (given.get("geometry") == "tiny" and given.get("weights") is None and flow is None):
            raise ValueError("DIS flow by its own name: `encoder: motion_dis`, without `geometry` and `flow`")
        if given.get("geometry") == "tiny":
            given["weights"] = given.get("weights") or "seeded"
        return given

    @property
    def sizes(self) -> Geometry:
        """Sizes of pictures and models."""
        return GEOMETRIES[self.geometry]

    @property
    def raft_is_seeded(self) -> bool:
        """Whether RAFT's weights are made from `seed`."""
        return self.weights == "seeded"

    @property
    def updates(self) -> int:
        """Flow updates, the geometry's default where none is given."""
        return self.iterations or self.sizes.iterations
