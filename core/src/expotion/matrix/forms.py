"""results.json, .csv, .md and .tex: one table in four forms, from the same plain data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from expotion.errors import Problem, RunFolderError
from expotion.evaluate.tables import aligned, arrow, markdown
from expotion.files import write_json, write_text

Table = Mapping[str, Any]
"""What `build_table` gives."""
RESULTS = "results"
FORMS = (".json", ".csv", ".md", ".tex")


def write_results(folder: Path, table: Table) -> None:
    """Write the four files; results.json last, as it says that the others are there."""
    write_text(folder / f"{RESULTS}.csv", to_csv(table))
    write_text(folder / f"{RESULTS}.md", to_markdown(table))
    write_text(folder / f"{RESULTS}.tex", to_latex(table))
    write_json(folder / f"{RESULTS}.json", table)


def read_results(folder: Path) -> dict[str, Any]:
    """What `write_results` wrote. Raises RunFolderError where it is missing or broken."""
    path = folder / f"{RESULTS}.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(Problem(str(path), "the results of a matrix", str(error))) from None
    return content


# ------------------------------------------------------------------------------------------------ words


def number(value: float | None, metric: Mapping[str, Any]) -> str:
    """Two digits after the point, one with a unit or from 10 on; a dash for nothing."""
    if value is None:
        return "-"
    digits = 1 if metric["unit"] or abs(value) >= 9.995 else 2
    return f"{value:.{digits}f}"


def interval(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """`[low, high]`, or nothing where there is none."""
    if cell["mean"] is None or cell["ci_low"] is None:
        return ""
    return f"[{number(cell['ci_low'], metric)}, {number(cell['ci_high'], metric)}]"


def labels_of(row: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """A row's labels in the order of the columns; its name where it has none."""
    if not columns:
        return [row["name"]]
    if not row["labels"]:
        return [row["name"], *[""] * (len(columns) - 1)]
    return [row["labels"].get(column, "") for column in columns]


def heads_of(table: Table) -> list[str]:
    """Heads of the label columns."""
    return list(table["columns"]) or ["row"]


def groups_of(table: Table) -> list[tuple[str, int]]:
    """Heads over neighbouring metrics: (head, columns)."""
    return [(head, len(list(same))) for head, same in groupby(metric["group"] for metric in table["metrics"])]


def size_note(table: Table) -> str:
    """Sample size and duration in a sentence."""
    made = [row for row in table["rows"] if row["role"] in ("system", "reference")]
    seeds = sorted({row["seeds"] for row in made if row["seeds"]})
    many = "one training each" if seeds in ([1], []) else f"{seeds[0]} to {seeds[-1]} seeds"
    if len(seeds) == 1 and seeds[0] > 1:
        many = f"{seeds[0]} seeds each"
    return f"{table['clips']} clips, {table['duration_s'] / 60:.1f} min in all; {many}."


def method_note(table: Table) -> str:
    """How intervals and bold are to be read."""
    text = "In brackets: 95% intervals over clips (and seeds, where there are several), of proportions by Wilson."
    if table["reference_row"]:
        text += (
            f" Bold (†): better (worse) than {table['reference_row']}, paired by clip, with p < {table['alpha']:g} "
            f"after Holm's correction for {table['n_comparisons']} comparisons and an interval without 0."
        )
    return text


# ------------------------------------------------------------------------------------------------ forms


def to_markdown(table: Table) -> str:
    """The table in Markdown, with notes; published numbers in columns of their own."""
    metrics = table["metrics"]
    heads = heads_of(table)
    published = [m for m in metrics if _is_published(table, m["name"])]
    header = [*heads, *(", ".join(filter(None, [_head(m), m["unit"]])) for m in metrics)]
    header += [f"*{m['name']}, published*" for m in published] + ["clips"]
    rows = [header]
    for row in table["rows"]:
        cells = [_markdown_cell(row["cells"][m["name"]], m) for m in metrics]
        cells += [_published_cell(row["cells"][m["name"]], m) for m in published]
        rows.append([*labels_of(row, table["columns"]), *cells, str(row["clips"])])
    notes = [*filter(None, [table.get("no_value", {})]), size_note(table), method_note(table)]
    if published:
        notes.append(f"*Published*: {table['published']['source']}: another data set, not to be compared.")
    notes += [f"{row['name']}: {row['error']}" for row in table["rows"] if row["error"]]
    notes += [*table["notes"], *metric_notes(table)]
    title = f"# {table['description'] or table['name']}"
    return "\n\n".join([title, "\n".join(markdown(rows, len(heads))), *notes]) + "\n"


def metric_notes(table: Table) -> list[str]:
    """What each metric was measured with and must not be compared with, where there is something to say."""
    found = []
    for metric in table["metrics"]:
        parts = [f"measured with {metric['measured_with']}"] if metric["measured_with"] else []
        if metric["not_comparable_with"]:
            parts.append(f"not to be compared with {metric['not_comparable_with']}")
        if parts:
            found.append(f"{metric['name']}: {'; '.join(parts)}.")
    return found


def to_text(table: Table) -> str:
    """The table for a console."""
    metrics = table["metrics"]
    rows = [[*heads_of(table), *map(_head, metrics), "clips"]]
    for row in table["rows"]:
        cells = []
        for metric in metrics:
            cell = row["cells"][metric["name"]]
            mark = {"better": "*", "worse": "†"}.get(cell["verdict"] or "", "")
            cells.append(f"{number(cell['mean'], metric)}{mark} {interval(cell, metric)}".strip())
        rows.append([*labels_of(row, table["columns"]), *cells, str(row["clips"])])
    note = method_note(table).replace("Bold (†)", "* (†)")
    told = [*filter(None, [table.get("no_value", {})]), size_note(table), note, *table["notes"]]
    return "\n".join([*aligned(rows), "", *told])


def to_csv(table: Table) -> str:
    """One line per row and metric, with every number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = ("mean", "ci_low", "ci_high", "n", "n_seeds")
    paired = ("mean", "ci_low", "ci_high", "n", "p", "p_holm")
    writer.writerow(
        ["row", "role", *table["columns"], "metric", *keys]
        + [f"difference_{key}" for key in paired]
        + ["verdict", *[f"against_shuffled_{key}" for key in paired], "published"]
    )
    for row in table["rows"]:
        for metric in table["metrics"]:
            cell = row["cells"][metric["name"]]
            labels = [row["labels"].get(column, "") for column in table["columns"]]
            line = [row["name"], row["role"], *labels, metric["name"], *[cell[key] for key in keys]]
            line += [(cell["difference"] or {}).get(key) for key in paired] + [cell["verdict"]]
            line += [(cell["against_shuffled"] or {}).get(key) for key in paired] + [cell["published"]]
            writer.writerow(["" if value is None else value for value in line])
    return out.getvalue()


def to_latex(table: Table) -> str:
    """A table for a paper (booktabs), with heads over groups of metrics."""
    metrics, heads = table["metrics"], heads_of(table)
    top = [""] * len(heads) + [rf"\multicolumn{{{n}}}{{c}}{{{_tex(head)}}}" for head, n in groups_of(table)]
    names = [_tex(m["name"]) + (r" $\uparrow$" if m["higher_is_better"] else r" $\downarrow$") for m in metrics]
    lines = [
        "% " + size_note(table),
        "% " + method_note(table).replace("%", r"\%"),
        rf"\begin{{tabular}}{{{'l' * len(heads)}{'c' * len(metrics)}}}",
        r"\toprule",
        " & ".join(top) + r" \\",
        " & ".join([*map(_tex, heads), *names]) + r" \\",
        r"\midrule",
    ]
    before = None
    for row in table["rows"]:
        if before is not None and row["role"] != before and row["role"] != "system":
            lines.append(r"\midrule")
        before = row["role"]
        cells = [_latex_cell(row["cells"][m["name"]], m) for m in metrics]
        lines.append(" & ".join([*map(_tex, labels_of(row, table["columns"])), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _head(metric: Mapping[str, Any]) -> str:
    return f"{metric['name']} {arrow(metric['higher_is_better'])}"


def _markdown_cell(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    text = number(cell["mean"], metric)
    if cell["verdict"] == "better":
        text = f"**{text}**"
    return f"{text}{'†' if cell['verdict'] == 'worse' else ''} {interval(cell, metric)}".strip()


def _published_cell(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    return "" if cell["published"] is None else f"*{number(cell['published'], metric)}*"


def _is_published(table: Table, metric: str) -> bool:
    return any(row["cells"][metric]["published"] is not None for row in table["rows"])


def _latex_cell(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    if cell["mean"] is None:
        return "--"
    text = number(cell["mean"], metric)
    if cell["verdict"] == "better":
        text = rf"\textbf{{{text}}}"
    if cell["verdict"] == "worse":
        text += r"$^\dagger$"
    return (text + rf" {{\scriptsize {interval(cell, metric)}}}").replace("-", "$-$")


def _tex(text: str) -> str:
    for letter in "&%$#_{}":
        text = text.replace(letter, "\\" + letter)
    return text.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")
