"""MusiScene: scenes that a piece would suit. Light to import; models and libraries come when one is built."""

from __future__ import annotations

from expotion.contracts import MetricSpec, hookimpl
from expotion_caption_musiscene.metrics import METRICS


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Scores of captions."""
    return METRICS
