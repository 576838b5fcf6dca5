"""`expotion verify`: compare this installation with reference numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

HELP = """Compare what this installation computes with golden files (NAME.json and NAME.npz).

Exits with 0 when all agree, 1 when something falls short, 2 when a file cannot be read or none is found.

\b
Example: expotion verify tests/golden
"""

WIDTH = 200
"""Columns of the table where it does not go to a terminal."""
COLUMNS = ("kind", "file", "quantity", "largest deviation", "tolerance", "verdict")
COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow", "unreadable": "red"}


def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Golden files, or folders that are searched for them.")
    ],
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Run the checks and print the table."""
    from rich.console import Console
    from rich.text import Text

    from expotion.files import write_json
    from expotion.plugins import discover
    from expotion.progress import columns
    from expotion_verify.run import verify as run

    terminal = Console().is_terminal
    console = Console(highlight=False, width=None if terminal else WIDTH)
    rows = list(run(paths, discover()))
    table = columns(*COLUMNS)
    for row in rows:
        deviation = "" if row.deviation is None else f"{row.deviation:.2g}"
        tolerance = "" if row.tolerance is None else "exact" if row.tolerance == 0 else f"{row.tolerance:g}"
        verdict = Text(row.verdict + (f": {row.note}" if row.note else ""), COLOURS[row.verdict])
        table.add_row(row.kind, Path(row.file).name, row.quantity, deviation, tolerance, verdict)
    console.print(table)
    verdicts: Counter[str] = Counter(row.verdict for row in rows)
    words = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in COLOURS if verdict in verdicts)
    console.print(f"{len({row.file for row in rows})} files, {len(rows)} lines: {words}")
    # an unreadable file outweighs a failure
    exit_code = 2 if "unreadable" in verdicts else 1 if "failed" in verdicts else 0
    if json_ is not None:
        write_json(json_, {"exit_code": exit_code, "rows": [row.to_json() for row in rows]})
    if exit_code:
        raise typer.Exit(exit_code)


app = typer.Typer(rich_markup_mode=None)
app.command(help=HELP)(verify)
