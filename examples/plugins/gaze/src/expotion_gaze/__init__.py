"""Head pose and eye direction as a control, by MediaPipe's face landmarker or from its saved results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from expotion.contracts import Encoder, EncoderSpec, Options, Weights, hookimpl

MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/latest/"
    "face_landmarker.task"
)
CHANNELS = ("yaw", "pitch", "roll", "eyes_right", "eyes_up", "eyes_open")
"""Angles over 45 degrees; eyes -1..1 to the person's own right and up; lids 0 closed to 1 open."""


class GazeOptions(Options):
    """Options that a recipe may set."""

    source: Literal["model", "results"] = Field(
        default="model", description="run MediaPipe on the picture, or read results saved beside the clip"
    )
    model: Path | None = Field(default=None, description="face_landmarker.task, downloaded from MediaPipe")
    track: str = Field(default="gaze", description="name of the clip's results file (source: results)")
    rate_hz: float = Field(default=25.0, gt=0, le=100, description="rows per second")


def _build(options: Any) -> Encoder:
    from expotion_gaze.encoder import GazeEncoder

    return GazeEncoder(options)


def _weights(options: Any) -> Sequence[Weights]:
    if options.source == "results":
        return ()
    return (Weights("mediapipe_face_landmarker", MODEL_URL, "Apache-2.0"),)


SPEC = EncoderSpec(
    name="gaze",
    description="head pose, eye direction and lids (MediaPipe)",
    needs=frozenset({"video", "file"}),
    build=_build,
    options=GazeOptions,
    width=lambda options: len(CHANNELS),
    rate_hz=lambda options: options.rate_hz,
    licence="Apache-2.0",
    weights=_weights,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]
