"""The result table as text for a console and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expotion.contracts import MetricSpec

Summary = Mapping[str, Mapping[str, Mapping[str, float | int | None]]]


def table_text(metrics: Summary, specs: Sequence[MetricSpec]) -> str:
    """Aligned columns; each cell is `mean [low, high]`, in brackets the 95 % bootstrap interval."""
    rows = _rows(metrics, specs)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def table_markdown(metrics: Summary, specs: Sequence[MetricSpec]) -> str:
    """The same table in Markdown."""
    header, *body = _rows(metrics, specs)
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *body])


def _rows(metrics: Summary, specs: Sequence[MetricSpec]) -> list[list[str]]:
    header = [
        "condition",
        *[f"{spec.name} {'↑' if spec.higher_is_better else '↓'}" for spec in specs],
        "clips",
    ]
    rows = [header]
    for condition, row in metrics.items():
        counts = sorted({int(row[spec.name]["n"] or 0) for spec in specs if spec.name in row})
        clips = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}" if counts else "0"
        rows.append([condition, *[_cell(row.get(spec.name), 1 if spec.unit else 2) for spec in specs], clips])
    return rows


def _cell(entry: Mapping[str, float | int | None] | None, digits: int) -> str:
    if entry is None or entry["mean"] is None:
        return "-"
    mean, low, high = (f"{float(entry[key] or 0.0):.{digits}f}" for key in ("mean", "ci_low", "ci_high"))
    return f"{mean} [{low}, {high}]"
