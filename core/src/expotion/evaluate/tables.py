"""Tables of results as text: aligned for a console, as Markdown, and what stands in a head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from expotion.contracts import MetricSpec

Summary = Mapping[str, Mapping[str, Mapping[str, float | int | None]]]
"""condition -> metric -> {mean, ci_low, ci_high, n}, the shape of metrics.json."""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of one width; a rule stands under the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [head, "  ".join("-" * width for width in widths), *body]


def markdown(rows: Sequence[Sequence[str]], n_labels: int = 1) -> list[str]:
    """Lines of a Markdown table whose first row is its head; all but the first `n_labels` columns stand right."""
    head, *body = rows
    rule = ["---"] * n_labels + ["---:"] * (len(head) - n_labels)
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, rule, *body]]


def arrow(higher_is_better: bool) -> str:
    """The good direction."""
    return "↑" if higher_is_better else "↓"


def counted(counts: Sequence[int], between: str = "-") -> str:
    """How many clips stand behind a row's values: `12`, or `9-12` where they differ; no value, no clip."""
    counts = [n for n in counts if n]
    few, many = min(counts, default=0), max(counts, default=0)
    return str(few) if few == many else f"{few}{between}{many}"


def table_text(metrics: Summary, specs: Sequence[MetricSpec], below: str = "") -> str:
    """Aligned columns; each cell is `mean [low, high]`, in brackets the 95 % interval. A line `below`."""
    return "\n".join([*aligned(_rows(metrics, specs)), *filter(None, [below])])


def no_value(
    metrics: Summary,
    per_clip: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]],
    notes: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
) -> str:
    """A line on columns in which no row has a value, each with the reason of most sounds; '' where all have some.

    `titles` are the columns by metric; `per_clip`: row -> clip -> metric -> {value, reason}. The last of a metric's
    `notes` is the reason where there is none per clip: of metrics over a set.
    """
    by_reason: dict[str, list[str]] = {}
    for name, title in titles.items():
        if all(row[name]["mean"] is None for row in metrics.values() if name in row):
            cells = [row.get(name, {}) for clips in per_clip.values() for row in clips.values()]
            told = Counter(str(cell["reason"]) for cell in cells if cell.get("reason")).most_common(1)
            of_set = ["there is no sound to measure", *notes.get(name, ())]
            by_reason.setdefault(told[0][0] if told else of_set[-1], []).append(title)
    return " ".join(f"No row has a value of {', '.join(names)}: {reason}." for reason, names in by_reason.items())


def _rows(metrics: Summary, specs: Sequence[MetricSpec]) -> list[list[str]]:
    rows = [["condition", *[f"{spec.name} {arrow(spec.higher_is_better)}" for spec in specs], "clips"]]
    for condition, row in metrics.items():
        cells = [_cell(row.get(spec.name), 1 if spec.unit else 2) for spec in specs]
        rows.append(
            [condition, *cells, counted([int(row[spec.name]["n"] or 0) for spec in specs if spec.name in row])]
        )
    return rows


def _cell(entry: Mapping[str, float | int | None] | None, digits: int) -> str:
    if entry is None or entry["mean"] is None:
        return "-"
    mean, low, high = (f"{float(entry[key] or 0.0):.{digits}f}" for key in ("mean", "ci_low", "ci_high"))
    return f"{mean} [{low}, {high}]"
