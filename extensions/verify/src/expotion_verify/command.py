"""`expotion verify`: compare this installation with reference numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from expotion_verify.run import Row

HELP = """Compare what this installation computes with golden files (NAME.json and NAME.npz).

Exits with 0 when all agree, 1 when something falls short, 2 when a file cannot be read or none is found.

\b
Example: expotion verify tests/golden
"""

WIDTH = 200
"""Columns of the table where it does not go to a terminal."""
COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow", "unreadable": "red"}


def verify(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Golden files, or folders that are searched for them."),
    ],
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the table to this file.")
    ] = None,
) -> None:
    """Run the checks and print the table."""
    from rich.console import Console

    from expotion.files import write_json
    from expotion.plugins import discover
    from expotion_verify.run import verify as run

    terminal = Console().is_terminal
    console = Console(highlight=False, width=None if terminal else WIDTH)
    report = run(paths, discover())
    console.print(_table(report.rows))
    count = {verdict: sum(row.verdict == verdict for row in report.rows) for verdict in COLOURS}
    files = len({row.file for row in report.rows})
    words = ", ".join(f"{n} {verdict}" for verdict, n in count.items() if n)
    console.print(f"{files} files, {len(report.rows)} lines: {words}")
    if json_ is not None:
        write_json(json_, report.to_json())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _table(rows: list[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "kind",
        "file",
        "quantity",
        "largest deviation",
        "tolerance",
        "verdict",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for row in rows:
        deviation = "" if row.deviation is None else f"{row.deviation:.2g}"
        tolerance = "" if row.tolerance is None else "exact" if row.tolerance == 0 else f"{row.tolerance:g}"
        verdict = Text(row.verdict + (f": {row.note}" if row.note else ""), COLOURS[row.verdict])
        table.add_row(row.kind, Path(row.file).name, row.quantity, deviation, tolerance, verdict)
    return table


app = typer.Typer(rich_markup_mode=None)
app.command(help=HELP)(verify)
