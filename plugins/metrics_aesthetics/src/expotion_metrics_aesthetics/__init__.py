"""Audiobox aesthetics: what listeners would say of a sound, by a model trained on their ratings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from expotion.contracts import MetricSpec, Score, Scored, Weights, hookimpl

SAMPLE_RATE_HZ = 16_000
WEIGHTS = Weights("audiobox_aesthetics", "hf:facebook/audiobox-aesthetics", "CC-BY-4.0")
AXES = {
    "CE": ("aesthetics_enjoyment", "content enjoyment"),
    "CU": ("aesthetics_usefulness", "content usefulness"),
    "PC": ("aesthetics_complexity", "production complexity; more is not better music"),
    "PQ": ("aesthetics_quality", "production quality"),
}


def _build(axis: str) -> Callable[[Scored], Score]:
    from expotion_metrics_aesthetics.predict import predictor  # noqa: PLC0415 - torch only when a run uses it

    return predictor(axis)


def _spec(axis: str, name: str, what: str) -> MetricSpec:
    return MetricSpec(
        name=name,
        label=name.replace("_", ": ").capitalize(),
        description=f"audiobox aesthetics, {what}, 1 to 10",
        build=partial(_build, axis),
        higher_is_better=True,
        licence="CC-BY-4.0",
        packages=("audiobox_aesthetics>=0.0.4",),
        weights=(WEIGHTS,),
        sample_rate_hz=SAMPLE_RATE_HZ,
        source="Tjandra et al. 2025",
        not_comparable_with="another axis, or ratings by people on another scale",
    )


SPECS = [_spec(axis, name, what) for axis, (name, what) in AXES.items()]


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Four axes of one model, which hears each sound once."""
    return SPECS
