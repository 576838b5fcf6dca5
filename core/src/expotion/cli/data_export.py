"""`expotion data export`: clips of a data source as video files, for `prepare` or to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from expotion.contracts import Clip


def export(
    source: Annotated[str, typer.Argument(help="A data source, such as conductor.")],
    out: Annotated[Path, typer.Option(help="Folder for train/ and test/.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the source.")
    ] = None,
) -> None:
    """Write the clips of a data source as mp4 with sound, captions beside them.

    \b
    Example: expotion data export conductor --out videos --set train_clips=16 --set test_clips=4
    """
    from functools import partial

    from rich.console import Console

    from expotion.errors import ExpotionError, Problem
    from expotion.pipeline.pool import Pool, n_workers
    from expotion.pipeline.progress import stage_progress
    from expotion.plugins import discover

    spec = discover().data_source(source)
    data = spec.build(_options(spec.options, source, settings or []))
    jobs: list[tuple[Clip, Path]] = []
    jobs += [(clip, out / "train") for clip in data.clips("train")]
    jobs += [(clip, out / "test") for clip in data.clips("test")]
    console = Console(soft_wrap=True, highlight=False)
    failed = []
    with stage_progress(console, "export") as progress:
        pool: Pool[Any, Any, Path] = Pool(partial(int), _export, n_workers(len(jobs), items_per_worker=4))
        for done, (index, result) in enumerate(pool.run(jobs), start=1):
            if isinstance(result, ExpotionError):
                failed += result.problems
            elif isinstance(result, Exception):
                raise result
            progress(done, len(jobs), jobs[index][0].id)
    console.print(f"{out}: {len(jobs) - len(failed)} clips", markup=False)
    if failed:
        raise ExpotionError([*failed, Problem(str(out), "every clip", f"{len(failed)} could not be written")])


def _export(state: Any, job: tuple[Clip, Path]) -> Path:
    from expotion.corpus.export import export_clip

    return export_clip(*job)


def _options(kind: Any, source: str, settings: list[str]) -> Any:
    from pydantic import ValidationError

    from expotion.errors import PluginError, Problem

    given = {text.partition("=")[0]: text.partition("=")[2] for text in settings}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise PluginError(
            [
                Problem(
                    f"--set {'.'.join(str(part) for part in fault['loc'])} ({source})",
                    f"one of {', '.join(kind.model_fields)}"
                    if fault["type"] == "extra_forbidden"
                    else str(fault["msg"]).lower(),
                    None if fault["type"] == "missing" else repr(fault["input"]),
                )
                for fault in error.errors()
            ]
        ) from error
