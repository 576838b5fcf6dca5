"""Landmarks of a person's body and face as controls: MediaPipe's models, run by LiteRT; announced to Expotion.

This module imports neither LiteRT nor OpenCV: it only announces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from expotion.contracts import Encoder, EncoderSpec, MetricSpec, Options, Weights, hookimpl

FILES = (
    ("pose_detection/pose_detection.tflite", "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"),
    ("pose_landmark/pose_landmark_full.tflite", "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"),
    (
        "face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    ("face_landmark/face_landmark.tflite", "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"),
    ("iris_landmark/iris_landmark.tflite", "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"),
)
"""The five networks below `mediapipe/modules` in MediaPipe's wheel, and the SHA-256 of each."""

MODELS = {PurePosixPath(path).name: digest for path, digest in FILES}
"""The same by the names that they have in the cache."""

WEIGHTS = Weights(
    "mediapipe_person",
    "wheel:mediapipe==0.10.21!mediapipe/modules",
    "Apache-2.0",
    size_bytes=13_511_726,
    files=FILES,
)


class PersonOptions(Options):
    """Options of all encoders here: whom they follow, and how often they say something."""

    person: Literal["largest", "left", "right"] | Annotated[int, Field(ge=1, le=20)] = Field(
        default="largest", description="of several people: the largest, the one farthest left or right, the Nth"
    )
    rate_hz: float = Field(default=25.0, ge=5.0, le=60.0, description="rows per second")


class BeatOptions(PersonOptions):
    """Options of `movement_beat`."""

    causal: bool = Field(
        default=False,
        description="from what was seen until then, as live: the phase is foreseen, the activation 0.25 s late",
    )
    true_beats: bool = Field(
        default=False,
        description="a clip that knows its beats, as a rendered world's, is taken at its word; others are tracked",
    )


def _weights(options: PersonOptions) -> Sequence[Weights]:
    del options
    return (WEIGHTS,)


def _pose(options: PersonOptions) -> Encoder:
    from expotion_person_landmarks.encoders import PersonPose  # noqa: PLC0415 - keeps this module light

    return PersonPose(POSE, options)


def _face(options: PersonOptions) -> Encoder:
    from expotion_person_landmarks.encoders import PersonFace  # noqa: PLC0415

    return PersonFace(FACE, options)


def _beat(options: BeatOptions) -> Encoder:
    from expotion_person_landmarks.encoders import MovementBeat  # noqa: PLC0415

    return MovementBeat(BEAT, options)


POSE = EncoderSpec(
    name="person_pose",
    description="body: wrists, elbows, shoulders, head and their braking, in shoulder widths (MediaPipe's models)",
    needs=frozenset({"video"}),
    build=_pose,
    options=PersonOptions,
    width=lambda options: 42,
    rate_hz=lambda options: options.rate_hz,
    weights=_weights,
    cost_s=lambda options: 0.69,  # on one core, 30 frames a second
)
FACE = EncoderSpec(
    name="person_face",
    description="face: head's movement and turn, brows, eyes, mouth, in face sizes (MediaPipe's models)",
    needs=frozenset({"video"}),
    build=_face,
    options=PersonOptions,
    width=lambda options: 20,
    rate_hz=lambda options: options.rate_hz,
    weights=_weights,
    cost_s=lambda options: 0.17,
)

BEAT = EncoderSpec(
    name="movement_beat",
    description="the beat of the body's movement: activation, phase, tempo, certainty (core's tracker)",
    needs=frozenset({"video"}),
    build=_beat,
    options=BeatOptions,
    width=lambda options: 5,
    rate_hz=lambda options: options.rate_hz,
    weights=_weights,
    cost_s=lambda options: 0.7,  # on one core, 30 frames a second
)


@hookimpl
def expotion_encoders() -> list[EncoderSpec]:
    """The encoders of this plugin."""
    return [POSE, FACE, BEAT]


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """The metrics of this plugin."""
    from expotion_person_landmarks import measure  # noqa: PLC0415 - scipy and the tracker, only when asked

    return measure.specs(WEIGHTS)
