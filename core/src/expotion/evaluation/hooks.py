"""What core's evaluation announces, through the same hook as any plugin: the built-in metrics."""

from __future__ import annotations

from expotion.contracts import MetricSpec, hookimpl


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Beat, tempo and intensity metrics."""
    from expotion.evaluation.registry import BUILT_IN  # noqa: PLC0415 - only when plugins are discovered

    return list(BUILT_IN.values())
