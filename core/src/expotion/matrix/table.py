"""The table of a matrix: systems, controls and outside sounds under the same metrics, compared with one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from expotion.contracts import MetricSpec
from expotion.evaluate.evaluate import values_of
from expotion.evaluate.sets import SetScore, set_difference, set_estimate
from expotion.evaluate.statistics import ALPHA, Difference, Estimate, corrected, difference, estimate
from expotion.evaluate.tables import no_value
from expotion.report.data import MetricInfo

Role = Literal["system", "outside", "control"]
PerClip = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""clip id -> metric -> {value, reason}"""


@dataclass(frozen=True)
class RowScores:
    """What was measured for a row: per seed its values per clip. `sets`: per seed metric -> score over the set.

    `control_of` names the row that this one is the shuffled control of.
    """

    name: str
    labels: Mapping[str, str]
    role: Role
    seeds: Sequence[PerClip]
    sets: Sequence[Mapping[str, SetScore]] = ()
    control_of: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Settings:
    """How the table is made: the reference row, heads over metrics, numbers published elsewhere, the seed."""

    reference: str | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    published_source: str = ""
    seed: int = 0


def build_table(
    rows: Sequence[RowScores],
    specs: Sequence[MetricSpec],
    settings: Settings,
    *,
    name: str,
    description: str,
    durations_s: Mapping[str, float],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of results.json: plain data, everything that any form of the table shows."""
    by_name = {row.name: row for row in rows}
    estimates = {(r.name, s.name): _estimate(r, s, settings.seed) for r in rows for s in specs}
    against_reference = _differences(
        [(r, by_name[settings.reference]) for r in rows if settings.reference in by_name and r.role != "control"],
        specs,
        settings,
    )
    against_shuffled = _differences(
        [(by_name[c.control_of], c) for c in rows if c.control_of in by_name], specs, settings
    )
    specs = _in_groups(specs, settings.groups)
    summary = {r.name: {s.name: estimates[r.name, s.name].as_dict() for s in specs} for r in rows}
    per_clip = {f"{row.name} {seed}": clips for row in rows for seed, clips in enumerate(row.seeds)}
    of_metric = {
        s.name: [n.removeprefix(f"{s.name}: ") for n in notes if n.startswith(f"{s.name}: ")] for s in specs
    }
    return {
        "name": name,
        "description": description,
        "reference_row": settings.reference if settings.reference in by_name else None,
        "level": 0.95,
        "alpha": ALPHA,
        "n_comparisons": sum(found.p is not None for found in against_reference.values()),
        "clips": len(durations_s),
        "duration_s": round(sum(durations_s.values()), 3),
        "metrics": [_metric(spec, settings.groups) for spec in specs],
        "columns": list(dict.fromkeys(column for row in rows for column in row.labels)),
        "rows": [
            {
                "name": row.name,
                "labels": dict(row.labels),
                "role": "reference" if row.name == settings.reference else row.role,
                "control_of": row.control_of,
                "error": row.error,
                "seeds": len(row.seeds),
                "clips": len({clip for one in row.seeds for clip in one}),
                "duration_s": round(
                    sum(durations_s.get(clip, 0.0) for clip in {c for one in row.seeds for c in one}), 3
                ),
                "cells": {
                    spec.name: _cell(
                        spec,
                        estimates[row.name, spec.name],
                        against_reference.get((row.name, spec.name)),
                        against_shuffled.get((row.name, spec.name)),
                        settings.published.get(row.name, {}).get(spec.name),
                    )
                    for spec in specs
                },
            }
            for row in rows
        ],
        "published": {
            "source": settings.published_source,
            "rows": {k: dict(v) for k, v in settings.published.items()},
        },
        "no_value": no_value(summary, per_clip, of_metric, {spec.name: spec.name for spec in specs}),
        "notes": list(dict.fromkeys(notes)),
    }


def _estimate(row: RowScores, spec: MetricSpec, seed: int) -> Estimate:
    if spec.over == "set":
        return set_estimate([one[spec.name] for one in row.sets if spec.name in one])
    return estimate([values_of(one, spec.name) for one in row.seeds], seed=seed)


def _differences(
    pairs: Sequence[tuple[RowScores, RowScores]], specs: Sequence[MetricSpec], settings: Settings
) -> dict[tuple[str, str], Difference]:
    """(row, metric) -> row minus the other one of its pair, corrected over all of them."""
    found: dict[tuple[str, str], Difference] = {}
    for row, other in pairs:
        if row is other:
            continue
        for spec in specs:
            if spec.over == "set":
                ours, theirs = ([one[spec.name] for one in r.sets if spec.name in one] for r in (row, other))
                found[row.name, spec.name] = set_difference(ours, theirs)
            else:
                left, right = ([values_of(one, spec.name) for one in r.seeds] for r in (row, other))
                found[row.name, spec.name] = difference(left, right, seed=settings.seed)
    return corrected(found)


def verdict(spec: MetricSpec, found: Difference | None) -> str | None:
    """`better` or `worse` where both the corrected p-value and the interval say so, else `open`."""
    if found is None or found.mean is None or found.ci_low is None or found.ci_high is None:
        return None
    if found.p_holm is None or found.p_holm >= ALPHA or found.ci_low <= 0.0 <= found.ci_high:
        return "open"
    return "better" if (found.mean > 0) == spec.higher_is_better else "worse"


def _cell(
    spec: MetricSpec,
    of: Estimate,
    reference: Difference | None,
    shuffled: Difference | None,
    published: float | None,
) -> dict[str, Any]:
    return {
        **of.as_dict(),
        "difference": None if reference is None else reference.as_dict(),
        "verdict": verdict(spec, reference),
        "against_shuffled": None if shuffled is None else shuffled.as_dict(),
        "shuffled_verdict": verdict(spec, shuffled),
        "published": published,
    }


def _metric(spec: MetricSpec, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    group = next((head for head, members in groups.items() if spec.name in members), "")
    return {
        **asdict(MetricInfo.of(spec)),
        "over": spec.over,
        "group": group,
        "source": spec.source,
        "measured_with": spec.measured_with(),
        "not_comparable_with": spec.not_comparable_with,
    }


def _in_groups(specs: Sequence[MetricSpec], groups: Mapping[str, Sequence[str]]) -> list[MetricSpec]:
    """Metrics of a group side by side, in the order of the groups; the others behind them."""
    order = [name for members in groups.values() for name in members]
    return sorted(specs, key=lambda spec: order.index(spec.name) if spec.name in order else len(order))
