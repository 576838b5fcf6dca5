"""`expotion data ...`: from a folder of videos to a split that does not leak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expotion.cli import data_export, data_view

if TYPE_CHECKING:
    from expotion.corpus.schema import Row

app = typer.Typer(
    help="Prepare, split and check clips of your own.\n\n\b\nExample: expotion data prepare videos/ --out corpus",
    no_args_is_help=True,
    rich_markup_mode=None,
)
SHOWN = 20


@app.command()
def prepare(
    source: Annotated[
        Path, typer.Argument(help="Folder, .csv, .jsonl, .parquet, .tar, or an authors' list.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the manifest.")],
    clip: Annotated[float, typer.Option(help="Length of a clip, s.")] = 10.0,
    hop: Annotated[float | None, typer.Option(help="From one clip to the next, s; default: --clip.")] = None,
    min_: Annotated[float, typer.Option("--min", help="Shortest clip, s.")] = 3.0,
    max_offset: Annotated[float, typer.Option(help="Most that picture and sound may differ, s.")] = 0.5,
    prompt: Annotated[str | None, typer.Option(help="Caption of clips that have none.")] = None,
    captioner: Annotated[str | None, typer.Option(help="Captioner of a plugin; replaces captions.")] = None,
    caption_style: Annotated[str | None, typer.Option(help="The captioner's option `style`.")] = None,
    caption_set: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Another option of the captioner.")
    ] = None,
    codes: Annotated[str | None, typer.Option(help="Backbone whose codec makes codes, such as tiny.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where paths in a list start; default: its folder.")
    ] = None,
    skip_missing: Annotated[bool, typer.Option(help="Leave out files that are not there.")] = False,
) -> None:
    """Check videos and write a manifest of clips; originals are not changed. Run again to go on.

    \b
    Example: expotion data prepare videos/ --out corpus --clip 10 --min 3
    """
    from contextlib import ExitStack

    from rich.console import Console

    from expotion.cli.data_work import Finish, examine_in_processes
    from expotion.corpus.examine import Settings
    from expotion.corpus.prepare import prepare as run
    from expotion.pipeline.progress import stage_progress
    from expotion.plugins import core_version

    console = Console(soft_wrap=True, highlight=False)
    settings = Settings(clip, clip if hop is None else hop, min_, max_offset)
    options = _captioner_options(captioner, caption_style, caption_set or [])
    finish = Finish(out, captioner, options, codes, console)
    with ExitStack() as stack:
        progress = stack.enter_context(stage_progress(console, "examine"))

        def complete(rows: list[Row]) -> list[Row]:
            stack.close()  # what follows shows progress of its own
            return finish(rows)

        made = run(
            source,
            out,
            settings,
            lambda items: examine_in_processes(settings, items),
            prompt=prompt,
            root=root,
            skip_missing=skip_missing,
            versions={"expotion": core_version()},
            finish=complete,
            progress=progress,
        )
    report = made.report
    drops = []
    for drop in report["dropped"]:
        at = f" at {drop['start_s']:.2f} s" if "start_s" in drop else ""
        drops.append(f"dropped {drop['where']}{at}: {drop['reason']}")
    same = [f"same sound, kept together: {', '.join(files)}" for files in report["same_sound"]]
    notes = [*report["warnings"], *finish.warnings, *drops, *same]
    for line in notes[:SHOWN]:
        console.print(line, style="yellow", markup=False)
    if len(notes) > SHOWN:
        more = f"{len(notes) - SHOWN} more notes are in {out / 'report.json'}"
        console.print(more, style="yellow", markup=False)
    console.print(
        f"{out / 'manifest.jsonl'}: {len(made.rows)} clips ({report['duration_s']:.0f} s) "
        f"of {report['files']} files, {report['without_caption']} without a caption",
        markup=False,
    )


def _captioner_options(captioner: str | None, style: str | None, others: list[str]) -> dict[str, str]:
    from expotion.corpus.schema import ManifestError
    from expotion.errors import Problem

    options = {} if style is None else {"style": style}
    for text in others:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise ManifestError(Problem("--caption-set", "NAME=VALUE", text))
        options[name.strip()] = value.strip()
    if options and captioner is None:
        raise ManifestError(
            Problem("--caption-style, --caption-set", "a captioner", "none", "add --captioner")
        )
    return options


@app.command()
def split(
    manifest: data_view.Manifest,
    by: Annotated[str, typer.Option(help="What must not cross.")] = "recording,song,performer",
    test: Annotated[float, typer.Option(help="Fraction of the duration.")] = 0.1,
    validation: Annotated[float, typer.Option(help="Fraction of the duration.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Default: split.jsonl beside the manifest.")] = None,
) -> None:
    """Split so that no recording, song, performer or sound is in two parts, and prove it.

    \b
    Example: expotion data split corpus/manifest.jsonl --test 0.1 --validation 0.1
    """
    from expotion.corpus.groups import KEYS
    from expotion.corpus.schema import ManifestError
    from expotion.corpus.split import split_manifest
    from expotion.errors import Problem

    keys = [key.strip() for key in by.split(",") if key.strip()]
    if unknown := [key for key in keys if key not in KEYS]:
        raise ManifestError(Problem("--by", f"some of {', '.join(KEYS)}", ", ".join(unknown)))
    target = out or manifest.with_name("split.jsonl")
    report: dict[str, Any] = split_manifest(manifest, target, keys, test, validation, seed)
    for name, counts in report["splits"].items():
        typer.echo(f"{name:<11}" + ", ".join(f"{key} {value}" for key, value in counts.items()))
    for key, count in report["unknown"].items():
        if count:
            typer.echo(f"{key} is not known of {count} clips: nothing keeps those apart by it", err=True)
    typer.echo(f"{len(report['groups'])} groups; {len(report['crossings'])} cross (computed from {target})")


app.command()(data_view.check)
app.command()(data_view.audit)
app.command()(data_view.stats)
app.command()(data_view.overview)
app.command()(data_export.export)
