"""`recipe check` and `recipe run` of a recipe with a matrix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from expotion.plugins import Registry
    from expotion.recipe.matrix import Matrix

SHOWN = 4


def print_matrix(matrix: Matrix, registry: Registry) -> None:
    """The plan: what is shared, the cells, and the estimated time and disk."""
    from expotion.recipe.matrix_cost import cost_of

    console = Console(highlight=False, soft_wrap=not Console().is_terminal)
    cost, cores = cost_of(matrix, registry), os.cpu_count() or 1
    console.print(f"[bold]{escape(matrix.name)}[/bold] {escape(matrix.description)}")
    shared = Table(
        "made once", "for", f"estimate, {cores} cores", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for part in cost.shared:
        names = ", ".join(part.cells[:SHOWN]) + (
            f" and {len(part.cells) - SHOWN} more" if len(part.cells) > SHOWN else ""
        )
        shared.add_row(escape(part.what), escape(names), _time(part.seconds, cores))
    console.print(shared)
    console.print()
    table = Table("cell", "what", "train", "generate", "disk", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for cell, own in zip(cost.cells, matrix.cells, strict=True):
        steps = own.recipe.train.steps if own.recipe.conditions else 0
        table.add_row(
            escape(cell.name),
            escape(own.recipe.description),
            f"{steps} steps, {_time(cell.train_s, cores)}" if steps else "-",
            _time(cell.generate_s, cores),
            f"{cell.disk_bytes / 1e6:.0f} MB",
        )
    console.print(table)
    total = cost.minutes(cores)
    told = "the time cannot be estimated" if total is None else f"about {total:.0f} min on {cores} cores"
    console.print(
        f"\n{len(matrix.cells)} cells in {len(matrix.rows)} rows; estimate: {told}, "
        f"{cost.disk_bytes / 1e6:,.0f} MB of disk ({cost.feature_bytes / 1e6:,.0f} MB of them in the cache)"
    )
    if matrix.reference_row is not None:
        console.print(f"compared with: {escape(matrix.reference_row)}")
    for name, folder in matrix.outside.items():
        console.print(f"from outside: {escape(name)} in {escape(folder)}")
    for plugin in registry.broken:
        console.print(f"[yellow]skipped, broken: {escape(f'{plugin.distribution}: {plugin.error}')}[/yellow]")
    console.print("[green]The recipe is in order.[/green]")


def run_cells(
    matrix: Matrix,
    registry: Registry,
    *,
    out: Path | None,
    resume: Path | None,
    parallel: int,
    ray: str | None,
) -> None:
    """Run the cells and say where the page is."""
    from expotion.pipeline.matrix_run import run_matrix

    console = Console()
    folder = run_matrix(
        matrix=matrix, registry=registry, out_dir=resume or out, console=console, parallel=parallel, ray=ray
    )
    page = folder / "report.html"
    console.print(f"Report: {page}", soft_wrap=True, highlight=False, markup=False)


def _time(seconds: float | None, cores: int) -> str:
    """Processor seconds as wall time on some cores."""
    if seconds is None:
        return "not measured"
    wall_s = seconds / max(1, cores)
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if wall_s < limit_s:
            return f"{wall_s / unit_s:.0f} {unit}"
    return f"{wall_s / 86_400:,.0f} days"
