"""`expotion recipe run` of a recipe with a matrix: what cells share, the cells, the table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion.errors import Problem
from expotion.pipeline.matrix_folder import CellsFailed, MatrixFolder
from expotion.pipeline.matrix_job import STOPPED, Job
from expotion.pipeline.matrix_shared import prepare
from expotion.pipeline.matrix_table import write_table
from expotion.pipeline.matrix_workers import Outcome, in_processes, one_by_one, over_ray
from expotion.plugins import Registry
from expotion.recipe.matrix import Cell, Matrix


def run_matrix(
    *,
    matrix: Matrix,
    registry: Registry,
    out_dir: Path | None,
    console: Console,
    parallel: int = 1,
    ray: str | None = None,
    open_registry: Callable[[], Registry] | None = None,
) -> Path:
    """Run every cell that is not done yet, then write the table; returns the folder (`runs/NAME` by default).

    A failed cell does not stop the others: at the end CellsFailed names all of them. An interruption becomes
    KeyboardInterrupt(folder), and the same command goes on from there. A second complete run only prints the table.
    """
    path = out_dir or Path("runs") / matrix.name
    folder = MatrixFolder.create(path, matrix)
    left = [cell for cell in matrix.cells if not folder.is_done(cell)]
    console.print(
        f"[bold]{matrix.name}[/] -> {escape(str(path))}: {len(matrix.cells)} cells, "
        f"{len(matrix.cells) - len(left)} done",
        highlight=False,
    )
    try:
        if left:
            captions = path / "shared" / "captions.json"
            started = time.monotonic()
            prepare([cell.recipe for cell in left], registry, captions, console)
            folder.state["shared_seconds"] += round(time.monotonic() - started, 2)
            folder.save()
            jobs = _jobs(left, folder, captions, parallel, ray)
            _run(left, _outcomes(jobs, registry, parallel, ray, console, open_registry), folder, console)
        write_table(matrix, registry, folder, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(path) from None
    failures = folder.failures()
    if failures:
        fix = "run the same command again: only these cells are run"
        raise CellsFailed(
            [
                Problem(str(folder.cell(name)), "a cell that ends well", reason, fix)
                for name, reason in failures.items()
            ]
        )
    return path


def _jobs(
    cells: Sequence[Cell], folder: MatrixFolder, captions: Path, parallel: int, ray: str | None
) -> list[Job]:
    apart = parallel > 1 or ray is not None
    threads = max(1, (os.cpu_count() or 1) // max(1, parallel)) if parallel > 1 else None
    return [
        Job(
            name=cell.name,
            recipe=cell.recipe.to_dict(),
            folder=folder.cell(cell.name).resolve() if apart else folder.cell(cell.name),
            captions=captions.resolve(),
            threads=threads if ray is None else 1,
            log=(folder.path / "logs" / f"{cell.name}.txt").resolve() if apart else None,
        )
        for cell in cells
    ]


def _outcomes(
    jobs: Sequence[Job],
    registry: Registry,
    parallel: int,
    ray: str | None,
    console: Console,
    open_registry: Callable[[], Registry] | None,
) -> Iterator[Outcome]:
    if ray is not None:
        return over_ray(jobs, ray)
    if parallel > 1:
        return in_processes(jobs, parallel, open_registry)
    return one_by_one(jobs, registry, console)


def _run(cells: Sequence[Cell], outcomes: Iterator[Outcome], folder: MatrixFolder, console: Console) -> None:
    """Take in how each cell ends."""
    by_name = {cell.name: cell for cell in cells}
    for done, (name, failure) in enumerate(outcomes, start=1):
        if failure == STOPPED:
            raise KeyboardInterrupt
        folder.note(by_name[name], failure)
        word = "[green]cell done[/]" if failure is None else "[red]cell failed[/]"
        text = escape(name if failure is None else f"{name}: {failure}")
        console.print(f"{word} {done}/{len(cells)} {text}", highlight=False, soft_wrap=True)
