"""Upper-body pose as a control: keypoints and velocities by MediaPipe's pose landmarker, or its saved results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from expotion.contracts import Encoder, EncoderSpec, Options, Weights, hookimpl

MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_lite/float16/latest/"
    "pose_landmarker_lite.task"
)
POINTS = {
    "nose": 0,
    "left_shoulder": 11,
    "right_shoulder": 12,
    "left_elbow": 13,
    "right_elbow": 14,
    "left_wrist": 15,
    "right_wrist": 16,
}
"""Keypoints of the upper body by MediaPipe's numbers; left and right are the person's own."""


class PoseOptions(Options):
    """Options that a recipe may set."""

    source: Literal["model", "results"] = Field(
        default="model", description="run MediaPipe on the picture, or read results saved beside the clip"
    )
    model: Path | None = Field(default=None, description="pose_landmarker*.task, downloaded from MediaPipe")
    track: str = Field(default="pose", description="name of the clip's results file (source: results)")
    rate_hz: float = Field(default=25.0, gt=0, le=100, description="rows per second")
    min_visibility: float = Field(default=0.5, ge=0, le=1, description="below this a keypoint is not seen")


def _build(options: Any) -> Encoder:
    from expotion_pose.encoder import PoseEncoder

    return PoseEncoder(options)


def _weights(options: Any) -> Sequence[Weights]:
    if options.source == "results":
        return ()
    return (Weights("mediapipe_pose_landmarker_lite", MODEL_URL, "Apache-2.0"),)


SPEC = EncoderSpec(
    name="pose",
    description="upper-body keypoints and their velocities, in shoulder widths (MediaPipe)",
    needs=frozenset({"video", "file"}),
    build=_build,
    options=PoseOptions,
    width=lambda options: 4 * len(POINTS),
    rate_hz=lambda options: options.rate_hz,
    licence="Apache-2.0",
    weights=_weights,
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The one encoder of this plugin."""
    return [SPEC]
