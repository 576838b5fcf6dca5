"""`expotion recipe run` of a recipe with a matrix: what cells share, the cells, the table."""

from __future__ import annotations

import functools
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from expotion import machine
from expotion.errors import ExpotionError, Problem, in_short
from expotion.evaluate.outside import outside_rows
from expotion.features import material
from expotion.features.encoders import build_encoders
from expotion.features.store import FeatureStore
from expotion.lock import held
from expotion.matrix.declare import Cell, Matrix
from expotion.matrix.folder import CellsFailed, MatrixFolder
from expotion.matrix.results import write_table
from expotion.matrix.rows import clips_of
from expotion.musicgen.engine import choose
from expotion.musicgen.load import backbone_folder, load_backbone
from expotion.plugins import Registry, discover, installed_versions
from expotion.progress import stage_progress
from expotion.recipe import Recipe
from expotion.recipe.schema import Condition
from expotion.run.captions import write_captions
from expotion.run.folder import RunFolder
from expotion.run.stages import run_recipe
from expotion.workers import WorkerDiedError, spread

log = logging.getLogger("expotion")
STOP_S = 30.0
"""How long an interrupted cell may take to write its checkpoint."""


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
                key, Condition(name=f"c{len(found)}", encoder=condition.encoder, options=condition.options)
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
            log.warning("shared stages: %s", _why(error))
            console.print(f"[yellow]shared stages[/] {escape(_why(error))}", highlight=False)


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
            clips_of(union, registry, train=train),
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
            clips = clips_of(recipes[0], registry, train=train)
            write_captions(recipes[0], registry, clips, path, progress=progress)


@dataclass(frozen=True)
class Job:
    """A cell to run: its recipe, its run folder, captions written before, and a file for what it prints."""

    recipe: Recipe
    folder: Path
    captions: Path
    log: Path | None = None


def run_cell(job: Job, registry: Registry, console: Console) -> None:
    """Run one cell as an ordinary run, starting from what all cells share."""
    with held(job.folder):
        RunFolder.create(job.folder, job.recipe, installed_versions(registry.distributions))
        own = job.folder / "captions.json"
        if job.captions.exists() and not own.exists():
            shutil.copyfile(job.captions, own)
        run_recipe(recipe=job.recipe, registry=registry, out_dir=job.folder, resume=None, console=console)


def run_apart(open_registry: Callable[[], Registry], job: Job) -> None:
    """Run a cell in another process, with plugins opened there; what it prints goes to its log."""
    assert job.log is not None
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a", encoding="utf-8") as file:
        run_cell(job, open_registry(), Console(file=file, width=120))


def run_matrix(
    *,
    matrix: Matrix,
    registry: Registry,
    out_dir: Path | None,
    console: Console,
    parallel: int = 1,
    ray: str | None = None,
    open_registry: Callable[[], Registry] = discover,
) -> Path:
    """Run every cell that is not done yet, then write the table; returns the folder (`runs/NAME` by default).

    A failed cell does not stop the others: at the end CellsFailed names all of them. An interruption becomes
    KeyboardInterrupt(folder), and the same command goes on from there. A second complete run only prints the table.
    """
    outside_rows(matrix.outside, clips_of(matrix.cells[0].recipe, registry))  # looked at before anything is made
    path = out_dir or Path("runs") / matrix.name
    with held(path):
        folder = MatrixFolder.create(path, matrix)
        left = [cell for cell in matrix.cells if not folder.is_done(cell)]
        console.print(
            f"[bold]{matrix.name}[/] -> {escape(str(path))}: {len(matrix.cells)} cells, "
            f"{len(matrix.cells) - len(left)} done",
            highlight=False,
        )
        try:
            if left:
                machine.adopt(folder.state.get("auto", {}), where=str(folder.path))
                machine.decide()
                if any(cell.recipe.generate.precision == "auto" for cell in left):
                    choose(torch.device("cpu"))
                folder.state["auto"] = machine.choice()  # what every cell and a later call is computed in
                captions = path / "shared" / "captions.json"
                started = time.monotonic()
                prepare([cell.recipe for cell in left], registry, captions, console)
                folder.state["shared_seconds"] += round(time.monotonic() - started, 2)
                folder.save()
                _run(left, folder, registry, captions, console, parallel, ray, open_registry)
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


def _run(
    cells: Sequence[Cell],
    folder: MatrixFolder,
    registry: Registry,
    captions: Path,
    console: Console,
    parallel: int,
    ray: str | None,
    open_registry: Callable[[], Registry],
) -> None:
    """Run cells, one after another or at the same time, and take in how each ends."""
    if ray is not None or parallel > 1:
        threads = 1 if ray is not None else max(1, machine.cores() // parallel)
        logs = (folder.path / "logs").resolve()
        jobs = [
            Job(cell.recipe, folder.cell(cell.name).resolve(), captions.resolve(), logs / f"{cell.name}.txt")
            for cell in cells
        ]
        work = functools.partial(run_apart, open_registry)
        workers = parallel if ray is None or parallel > 1 else 0
        outcomes = spread(work, jobs, workers=workers, threads=threads, ray=ray, fresh=True, grace_s=STOP_S)
    else:
        jobs = [Job(cell.recipe, folder.cell(cell.name), captions) for cell in cells]
        outcomes = spread(lambda job: run_cell(job, registry, console), jobs)
    for done, (index, failed) in enumerate(outcomes, start=1):
        name, failure = cells[index].name, None if failed is None else _why(failed)
        if failure is None and not (jobs[index].folder / "run.json").exists():
            failure = f"{jobs[index].folder} is not shared with the machine that ran it"
        folder.note(cells[index], failure)
        word = "[green]cell done[/]" if failure is None else "[red]cell failed[/]"
        text = escape(name if failure is None else f"{name}: {failure}")
        console.print(f"{word} {done}/{len(cells)} {text}", highlight=False, soft_wrap=True)


def _why(error: Exception) -> str:
    """An error in a line."""
    if isinstance(error, ExpotionError):
        return "; ".join(str(problem) for problem in error.problems)
    return in_short(error) if not isinstance(error, WorkerDiedError) else str(error)
