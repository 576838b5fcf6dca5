"""`expotion recipe run`: where a run goes, its log, and what an interruption leaves."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from expotion.errors import Problem, RunFolderError
from expotion.plugins import Registry, installed_versions
from expotion.recipe import Recipe
from expotion.run.folder import RunFolder
from expotion.run.stages import Stages

log = logging.getLogger("expotion")


def run_recipe(
    *,
    recipe: Recipe,
    registry: Registry,
    out_dir: Path | None,
    resume: Path | Literal["auto"] | None,
    console: Console,
) -> Path:
    """Run every stage that is not done yet; returns the run folder.

    Raises ExpotionError for anything a user can act on, and KeyboardInterrupt(folder) when interrupted: what
    was finished stays, and the same command with `--resume` goes on from there.
    """
    folder = _folder(recipe, out_dir, resume)
    run = RunFolder.create(folder, recipe, installed_versions(registry.distributions))
    handler = run.log_to_file()
    console.print(f"[bold]{recipe.name}[/] -> {escape(str(folder))}", highlight=False)
    try:
        Stages(recipe, registry, run, console).all()
    except KeyboardInterrupt:
        log.warning("interrupted")
        raise KeyboardInterrupt(folder) from None
    except Exception:
        log.exception("the run stopped")
        raise
    finally:
        logging.getLogger("expotion").removeHandler(handler)
        handler.close()
    return folder


def _folder(recipe: Recipe, out_dir: Path | None, resume: Path | Literal["auto"] | None) -> Path:
    """Where the run goes: as told, or the newest unfinished run of this recipe, or a new folder in runs/."""
    if isinstance(resume, Path):
        RunFolder.open(resume)
        return resume
    if out_dir is not None:
        return out_dir
    runs = Path("runs")
    if resume == "auto":
        for path in sorted(runs.glob(f"{recipe.name}-*"), reverse=True):
            try:
                RunFolder.open(path, recipe)
            except RunFolderError:
                continue
            return path
        raise RunFolderError(
            Problem(
                where=str(runs), wanted=f"a run of '{recipe.name}' with these settings to resume", got="none"
            )
        )
    return runs / f"{recipe.name}-{datetime.now():%Y%m%d-%H%M%S}"
