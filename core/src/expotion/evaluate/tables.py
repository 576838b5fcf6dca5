"""Tables of results as text: aligned for a console, as Markdown, and what stands in a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    """How many clips stand behind a row's values: `12`, or `9-12` where values differ in it."""
    few, many = min(counts, default=0), max(counts, default=0)
    return str(few) if few == many else f"{few}{between}{many}"


def table_text(metrics: Summary, specs: Sequence[MetricSpec]) -> str:
    """Aligned columns; each cell is `mean [low, high]`, in brackets the 95 % interval."""
    return "\n".join(aligned(_rows(metrics, specs)))


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
