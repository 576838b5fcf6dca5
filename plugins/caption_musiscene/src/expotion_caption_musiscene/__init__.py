"""MusiScene: scenes that a piece would suit. Light to import; models and libraries come when one is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from expotion.contracts import CaptionerSpec, Clip, MetricSpec, Stage, TaskSpec, Weights, hookimpl
from expotion_caption_musiscene.metrics import METRICS
from expotion_caption_musiscene.options import SceneOptions, SceneTaskOptions

__all__ = ["SPEC", "TASK", "expotion_captioners", "expotion_metrics", "expotion_tasks"]


def _build(options: Any) -> Callable[[Clip], str]:
    from expotion_caption_musiscene.captioner import SceneCaptioner  # noqa: PLC0415 - torch

    return SceneCaptioner(options)


SPEC = CaptionerSpec(
    name="musiscene",
    description="a scene that the clip's music would suit, by a small model of ours that knows the world's band",
    build=_build,
    options=SceneOptions,
    weights=lambda options: [Weights("musiscene_scenes", "shipped", "Apache-2.0")],
    says="scene",
)


def _stages(options: Any) -> Sequence[Stage]:
    from expotion_caption_musiscene.task import stages  # noqa: PLC0415 - torch

    return stages(options)


TASK = TaskSpec(
    name="scenes",
    description="train the captioner musiscene on music of known truth, tell scenes of test clips, score them",
    stages=_stages,
    options=SceneTaskOptions,
    metrics=[metric.name for metric in METRICS if metric.name.startswith("scene_")],
)


@hookimpl
def expotion_captioners() -> list[CaptionerSpec]:
    """The captioner."""
    return [SPEC]


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Scores of captions."""
    return METRICS


@hookimpl
def expotion_tasks() -> list[TaskSpec]:
    """Its training."""
    return [TASK]
