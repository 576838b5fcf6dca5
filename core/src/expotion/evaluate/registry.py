"""Metrics by name: the built-in ones and those that plugins announce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from expotion.contracts import MetricSpec, hookimpl
from expotion.errors import PluginError, Problem, RecipeError
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


def available_metrics(plugin_metrics: Mapping[str, MetricSpec] | None = None) -> dict[str, MetricSpec]:
    """All metrics by name. Raises PluginError where a plugin takes the name of a built-in metric."""
    plugin_metrics = plugin_metrics or {}
    wanted, fix = "a name that core does not use itself", "rename the plugin's metric"
    taken = [
        Problem(f"metric '{name}'", wanted, fix=fix)
        for name, spec in sorted(BUILT_IN.items())
        if plugin_metrics.get(name, spec) is not spec
    ]
    if taken:
        raise PluginError(taken)
    return {**BUILT_IN, **plugin_metrics}


def choose_metrics(
    names: Sequence[str], plugin_metrics: Mapping[str, MetricSpec] | None = None, *, ready: bool = False
) -> list[MetricSpec]:
    """The named metrics in the order asked for.

    Raises RecipeError with every unknown name at once and, where `ready`, with every package and file of weights
    that they need and that is not here.
    """
    known = available_metrics(plugin_metrics)
    problems = []
    for position, name in enumerate(names):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            fix = f"did you mean '{near[0]}'?" if near else None
            wanted = f"one of {', '.join(sorted(known))}"
            problems.append(Problem(f"evaluate.metrics[{position}]", wanted, repr(name), fix))
        elif ready:
            problems += known[name].missing()
    if problems:
        raise RecipeError(problems)
    return [known[name] for name in dict.fromkeys(names)]


@hookimpl
def expotion_metrics() -> list[MetricSpec]:
    """Beat, tempo and intensity metrics, through the same hook as any plugin's."""
    return list(BUILT_IN.values())
