"""Core's own metrics, announced as a plugin announces its own."""

from __future__ import annotations

from collections.abc import Mapping

from expotion.contracts import MetricSpec, hookimpl
from expotion.evaluate import beat_metrics, level_metrics, motion

BUILT_IN: Mapping[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        beat_metrics.BEAT_F1,
        beat_metrics.TEMPO_ERROR_BPM,
        beat_metrics.TEMPO_WITHIN_4PCT,
        level_metrics.INTENSITY_CORRELATION,
        motion.BEAT_ALIGNMENT,
        level_metrics.LEVEL_SANE,
    )
}


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Beat, tempo and intensity metrics, through the same hook as any plugin's."""
    return list(BUILT_IN.values())
