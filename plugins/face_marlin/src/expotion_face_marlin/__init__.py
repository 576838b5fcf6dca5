"""Facial expression features: MARLIN's video encoder on the tracked face.

This module imports neither torch nor OpenCV: it only announces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from expotion.contracts import EncoderSpec, GoldenCheckSpec, GoldenFile, Options, Weights, hookimpl
from expotion_face_marlin.geometry import GEOMETRIES, SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from expotion_face_marlin.encoder import FaceMarlinEncoder

TINY_WEIGHTS = Path(__file__).with_name("weights") / "tiny.safetensors"
MARLIN_LICENCE = "CC-BY-NC-4.0"


class FaceMarlinOptions(Options):
    """Options of `face_marlin`.

    `tiny` runs with the weights in this package; the official geometries need a file of MARLIN's weights.
    """

    geometry: Literal["tiny", "small", "base", "large"] = "tiny"
    weights: Path | None = Field(None, description="official *.encoder.pt, *.full.pt or .ckpt; default: shipped")
    weights_seed: int | None = Field(None, description="random weights from this seed instead of a file")
    window_rate_hz: float = Field(5.0, gt=0.0, le=80.0, description="windows per second; each spans 0.2 s")
    reference_windows: bool = Field(False, description="the window starts of the released scripts at 80 fps")
    crop: Literal["face", "frame"] = Field("face", description="frame: the video is a face crop already")
    person: Literal["largest", "central"] = "largest"
    margin: float = Field(0.0, ge=0.0, le=1.0, description="added on each side of the face, over its side")
    detect_hz: float = Field(5.0, gt=0.0, le=60.0, description="rate at which faces are looked for")
    max_gap_s: float = Field(1.0, ge=0.0, description="a face may be missed this long before it counts as gone")
    detector: Literal["auto", "yunet", "haar"] = Field(
        "auto", description="auto: YuNet where its file is given or pulled, else OpenCV's cascades"
    )
    yunet: Path | None = Field(None, description="face_detection_yunet_*.onnx; default: the one that was pulled")
    batch_size: int | None = Field(None, ge=1, description="windows per forward pass; default: by their tokens")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the matrix products; auto: bfloat16 for official sizes where right and faster"
    )

    def runs_in(self, has_bfloat16: bool) -> Literal["float32", "bfloat16"]:
        """The precision, with `auto` decided."""
        if self.precision == "auto":
            return "bfloat16" if has_bfloat16 and self.geometry != "tiny" else "float32"
        return self.precision


def _width(options: FaceMarlinOptions) -> int:
    return GEOMETRIES[options.geometry].width


def _rate_hz(options: FaceMarlinOptions) -> float:
    if options.reference_windows:
        return SAMPLE_RATE_HZ / GEOMETRIES[options.geometry].n_frames
    return options.window_rate_hz


YUNET = Weights(
    "face_yunet",
    "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    "MIT",
)


def _weights(options: FaceMarlinOptions) -> Sequence[Weights]:
    return [*_network_weights(options), *([YUNET] if options.detector == "yunet" and not options.yunet else [])]


def _network_weights(options: FaceMarlinOptions) -> Sequence[Weights]:
    name = f"marlin_vit_{options.geometry}"
    if options.weights_seed is not None:
        return [Weights(f"{name}_seeded", "seeded", "Apache-2.0")]
    if options.geometry == "tiny":
        return [Weights(name, "shipped", "Apache-2.0")]
    source = f"hf:ControlNet/{name}_ytf" if options.weights is None else str(options.weights)
    seeded = partial(_seeded, options.geometry)
    return [Weights(f"{name}_ytf", source, MARLIN_LICENCE, non_commercial=True, seeded=seeded)]


def _seeded(geometry: str, folder: Path) -> Path:
    from expotion_face_marlin.loader import write_seeded  # noqa: PLC0415 - torch

    return write_seeded(folder, geometry)


def _build(options: FaceMarlinOptions) -> FaceMarlinEncoder:
    from expotion_face_marlin.encoder import FaceMarlinEncoder  # noqa: PLC0415 - keeps this module light

    return FaceMarlinEncoder(SPEC, options)


SPEC = EncoderSpec(
    name="face_marlin",
    description="Facial expression: MARLIN on the tracked face, a vector per 0.2 s window",
    needs=frozenset({"video"}),
    build=_build,
    options=FaceMarlinOptions,
    width=_width,
    rate_hz=_rate_hz,
    licence="Apache-2.0",
    weights=_weights,
    # on one core of a Xeon with AMX; the official sizes were not timed
    cost_s=lambda options: 0.0158 if options.geometry == "tiny" else None,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]


def _golden(name: str) -> Callable[[GoldenFile], None]:
    from expotion_face_marlin import golden  # noqa: PLC0415 - torch only when built

    check: Callable[[GoldenFile], None] = getattr(golden, name)
    return check


@hookimpl
def expotion_golden_checks() -> list[GoldenCheckSpec]:
    """Reference numbers that MARLIN's encoder is compared with."""
    return [
        GoldenCheckSpec("marlin", lambda: _golden("check_marlin"), "MARLIN's encoder"),
        GoldenCheckSpec("marlin_postable", lambda: _golden("check_table"), "MARLIN's position table"),
    ]
