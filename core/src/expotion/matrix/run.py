"""`expotion recipe run` of a recipe with a matrix: what cells share, the cells, the table."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion import machine
from expotion.contracts import Clip
from expotion.errors import Problem
from expotion.features import material
from expotion.features.encoders import build_encoders
from expotion.features.store import FeatureStore
from expotion.matrix.declare import Cell, Matrix
from expotion.matrix.folder import CellsFailed, MatrixFolder
from expotion.matrix.job import STOPPED, Job, Outcome, explain, in_processes, one_by_one, over_ray
from expotion.matrix.make_table import write_table
from expotion.musicgen.load import backbone_folder, load_backbone
from expotion.plugins import Registry
from expotion.progress import stage_progress
from expotion.recipe import Recipe
from expotion.recipe.schema import Condition
from expotion.run.captions import write_captions

# What cells share, made once before any of them: features and codes of each clip, and captions.

log = logging.getLogger("expotion")


def groups_of(recipes: Sequence[Recipe]) -> list[list[Recipe]]:
    """Recipes with the same clips and codec."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(recipe.section_hash("data", "backbone"), []).append(recipe)
    return list(groups.values())


def encoders_of(recipes: Sequence[Recipe]) -> list[Condition]:
    """Every encoder with its options once, as conditions with names of their own."""
    found: dict[str, Condition] = {}
    for recipe in recipes:
        for condition in recipe.conditions:
            key = f"{condition.encoder} {sorted(condition.options.items(), key=str)}"
            found.setdefault(
                key,
                Condition(name=f"c{len(found)}", encoder=condition.encoder, options=condition.options),
            )
    return list(found.values())


def prepare(recipes: Sequence[Recipe], registry: Registry, captions: Path, console: Console) -> None:
    """Extract every track of every clip and write every caption that the cells will ask for.

    Each clip is opened once for all encoders. What fails here fails again in the cells that need it, and is
    reported there.
    """
    store = FeatureStore()
    for group in groups_of(recipes):
        try:
            _extract(group, registry, store, console)
            _captions(group, registry, captions, console)
        except Exception as error:  # the cells that it concerns will say so
            log.warning("shared stages: %s", explain(error))
            console.print(f"[yellow]shared stages[/] {escape(explain(error))}", highlight=False)


def _clips(recipe: Recipe, registry: Registry, *, train: bool) -> list[Clip]:
    data = registry.data_source(recipe.data.source)
    source = data.build(data.options(**recipe.data.options))
    return [*(source.clips("train") if train else ()), *source.clips("test")]


def _extract(group: Sequence[Recipe], registry: Registry, store: FeatureStore, console: Console) -> None:
    train = any(recipe.conditions for recipe in group)
    union = group[0].model_copy(update={"conditions": encoders_of(group)})
    failures = material.Failures()
    source = backbone_folder(union.backbone.source, registry)
    with stage_progress(console, "clips, shared") as progress:
        material.extract_all(
            union,
            build_encoders(union, registry),
            source,
            _clips(union, registry, train=train),
            store,
            failures,
            progress=progress,
            codec=load_backbone(source, parts=frozenset({"codec"})).codec,
        )


def _captions(group: Sequence[Recipe], registry: Registry, path: Path, console: Console) -> None:
    """Captions by each captioner: of all clips where something is trained on them, else of the test clips."""
    told: dict[str, list[Recipe]] = {}
    for recipe in group:
        if recipe.text.captioner is not None:
            key = f"{recipe.text.captioner} {sorted(recipe.text.captioner_options.items(), key=str)}"
            told.setdefault(key, []).append(recipe)
    for recipes in told.values():
        train = any(recipe.conditions for recipe in recipes)
        with stage_progress(console, "captions, shared") as progress:
            write_captions(
                recipes[0], registry, _clips(recipes[0], registry, train=train), path, progress=progress
            )


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
    threads = max(1, machine.cores() // max(1, parallel)) if parallel > 1 else None
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
