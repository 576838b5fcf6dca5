"""One offer of a plugin in words, for `expotion plugin show`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from expotion.errors import ExpotionError, PluginError, Problem
from expotion.plugins import KINDS, Registry, discover
from expotion.recipe.pairs import split_pairs
from expotion.testing import (
    CheckResult,
    run_captioner_checks,
    run_checks,
    run_data_source_checks,
    run_metric_checks,
)


def describe(registry: Registry, name: str) -> list[str]:
    """Lines about everything that is offered under that name, or about the distribution of that name."""
    lines: list[str] = []
    for kind in KINDS:
        if name in registry.offers(kind):
            offer = registry.offers(kind)[name]
            lines += [
                f"{name}: {kind} of {offer.distribution} {offer.version}",
                f"  {offer.spec.description}",
            ]
            lines += [f"  {line}" for line in _details(kind, offer.spec)]
    for plugin in registry.plugins:
        if name in (plugin.name, plugin.distribution) and not lines:
            lines.append(f"{plugin.distribution} {plugin.version}")
            lines.append(f"  broken: {plugin.error}" if plugin.error else "  health: ok")
            lines += [f"  {kind}: {', '.join(names)}" for kind, names in plugin.offers.items()]
    if lines:
        return lines
    known = sorted({name for kind in KINDS for name in registry.offers(kind)})
    close = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {close[0]!r}?" if close else registry.explain_missing("encoder", name)[2]
    raise PluginError(Problem(f"plugin {name!r}", "a name that a plugin offers", None, fix))


def _details(kind: str, spec: Any) -> Iterator[str]:
    if hasattr(spec, "licence"):
        yield f"licence: {spec.licence}" + (
            " (non-commercial)" if getattr(spec, "non_commercial", False) else ""
        )
    if kind == "encoder":
        yield f"needs: {', '.join(sorted(spec.needs))}; feeds: {spec.feeds}; smoother: {spec.smoother}"
        yield from _of_defaults(spec)
    if kind == "metric":
        direction = "higher" if spec.higher_is_better else "lower"
        yield f"{direction} is better" + (f"; unit: {spec.unit}" if spec.unit else "")
        if spec.over == "set":
            yield "over: the set of all sounds, one number for each condition"
        if spec.sample_rate_hz:
            yield f"sample rate: {spec.sample_rate_hz} Hz"
        if spec.source:
            yield f"source: {spec.source}"
        if spec.packages:
            yield f"packages: {', '.join(spec.packages)}"
        for weights in spec.weights:
            note = " (non-commercial)" if weights.non_commercial else ""
            yield f"weights: {weights.name}, {weights.source}, {weights.licence}{note}"
        if spec.measured_with():
            yield f"here: {spec.measured_with()}"
        yield from (f"missing: {lack.wanted}, {lack.got}; {lack.fix}" for lack in spec.missing())
        if spec.not_comparable_with:
            yield f"not comparable with: {spec.not_comparable_with}"
    if hasattr(spec, "options"):
        yield from _options(spec.options)


def _of_defaults(spec: Any) -> Iterator[str]:
    try:
        options = spec.options()
    except ValidationError:
        return
    rate_hz = spec.rate_hz(options)
    yield f"width: {spec.width(options)}; rate: {f'{rate_hz:g} Hz' if rate_hz else 'none of its own'}"
    for weights in spec.weights(options):
        note = " (non-commercial)" if weights.non_commercial else ""
        size = f", {weights.size_bytes / 1e6:.1f} MB" if weights.size_bytes else ""
        yield f"weights: {weights.name}, {weights.source}, {weights.licence}{note}{size}"


def _options(model: type[BaseModel]) -> Iterator[str]:
    if not model.model_fields:
        yield "options: none"
        return
    yield "options:"
    for name, info in model.model_fields.items():
        annotation = info.annotation
        kind = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        default = (
            "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        )
        yield f"  {name}: {kind}, {default}" + (f". {info.description}" if info.description else "")


# Which suite a name is checked by.


def results_of(name: str, options: dict[str, Any], tracks: Sequence[str], level: str) -> list[CheckResult]:
    """Results of the suite of whatever has that name. Raises PluginError where nothing has."""
    registry = discover()
    if name not in registry.encoders:
        if name in registry.metrics:
            return run_metric_checks(registry.metric(name))
        if name in registry.offers("data source"):
            return run_data_source_checks(registry.data_source(name), options)
        if name in registry.offers("captioner"):
            return run_captioner_checks(registry.captioner(name), options)
    return run_checks(registry.encoder(name), options, tracks=_files(tracks), level=level)


def _files(assignments: Sequence[str]) -> dict[str, Path]:
    problems: list[Problem] = []
    wanted = "NAME=FILE with a file that is there"
    pairs = split_pairs("--track", assignments, wanted, "gaze=gaze.csv", problems)
    files = {name: Path(text).expanduser() for name, text in pairs.items()}
    problems += [
        Problem(f"--track {name}={path}", wanted, "no such file")
        for name, path in files.items()
        if not path.is_file()
    ]
    if problems:
        raise ExpotionError(problems)
    return files
