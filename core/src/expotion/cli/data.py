"""`expotion data ...`: from a folder of videos to a split that does not leak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Prepare, split and check clips of your own.\n\n\b\nExample: expotion data prepare videos/ --out corpus",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.jsonl.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="Folder, .csv, .jsonl, .tar, or an authors' list.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifest.")],
    clip: Annotated[float, typer.Option(help="Length of a clip, s.")] = 10.0,
    hop: Annotated[float | None, typer.Option(help="From one clip to the next, s; default: --clip.")] = None,
    min_: Annotated[float, typer.Option("--min", help="Shortest clip, s.")] = 3.0,
    max_offset: Annotated[float, typer.Option(help="Most that picture and sound may differ, s.")] = 0.5,
    prompt: Annotated[str | None, typer.Option(help="Caption of clips that have none.")] = None,
    captioner: Annotated[str | None, typer.Option(help="Captioner of a plugin; replaces captions.")] = None,
    caption_style: Annotated[str | None, typer.Option(help="The captioner's option `style`.")] = None,
    codes: Annotated[str | None, typer.Option(help="Backbone whose codec makes codes, such as tiny.")] = None,
) -> None:
    """Check videos and write a manifest of clips; originals are not changed. Run again to go on.

    \b
    Example: expotion data prepare videos/ --out corpus --clip 10 --min 3
    """
    from rich.console import Console

    from expotion.cli.data_work import Finish, examine_in_processes
    from expotion.corpus.examine import Settings
    from expotion.corpus.prepare import prepare as run
    from expotion.pipeline.progress import stage_progress
    from expotion.plugins import core_version

    console = Console(soft_wrap=True, highlight=False)
    settings = Settings(clip, clip if hop is None else hop, min_, max_offset)
    finish = Finish(out, captioner, caption_style, codes, console)
    with stage_progress(console, "examine") as progress:
        made = run(
            source,
            out,
            settings,
            lambda items: examine_in_processes(settings, items),
            prompt=prompt,
            versions={"expotion": core_version()},
            finish=finish,
            progress=progress,
        )
    for warning in [*made.report["warnings"], *finish.warnings]:
        console.print(warning, style="yellow", markup=False)
    for drop in made.report["dropped"]:
        at = f" at {drop['start_s']:.2f} s" if "start_s" in drop else ""
        console.print(f"dropped {drop['where']}{at}: {drop['reason']}", style="yellow", markup=False)
    console.print(
        f"{out / 'manifest.jsonl'}: {len(made.rows)} clips of {made.report['files']} files", markup=False
    )


@app.command()
def split(
    manifest: Manifest,
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
    report = split_manifest(manifest, target, keys, test, validation, seed)
    for name, counts in report["splits"].items():
        typer.echo(f"{name:<11}" + ", ".join(f"{key} {value}" for key, value in counts.items()))
    typer.echo(f"{len(report['groups'])} groups; {len(report['crossings'])} cross (computed from {target})")


@app.command()
def audit(
    lists: Annotated[list[Path], typer.Argument(help="A split manifest, or train and test lists.")],
    fingerprints: Annotated[bool, typer.Option(help="Compare the sounds as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Find leaks by metadata and by sound; exit code 1 when there are any.

    \b
    Example: expotion data audit train.txt test.txt
    """
    from expotion.corpus.audit import audit as run

    report = run(lists, fingerprints=fingerprints)
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        for leak in report["leaks"]:
            told = "; ".join(f"{part}: {', '.join(ids[:3])}" for part, ids in leak["clips"].items())
            typer.echo(f"leak by {leak['by']}: {leak['value']} ({told})")
        for line in report["unread"]:
            typer.echo(f"not heard: {line}", err=True)
        counts = ", ".join(f"{name} {count}" for name, count in report["parts"].items())
        typer.echo(f"{len(report['leaks'])} leaks; clips: {counts}")
    if report["leaks"]:
        raise typer.Exit(1)


@app.command()
def stats(
    manifest: Manifest,
    tempo: Annotated[bool, typer.Option(help="Estimate tempi; decodes every sound.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show lengths, loudness, tempi, captions and sizes.

    \b
    Example: expotion data stats corpus/manifest.jsonl
    """
    from expotion.cli.data_work import tempo_of
    from expotion.corpus.schema import read_manifest
    from expotion.corpus.stats import stats as run

    rows = read_manifest(manifest, files=tempo)
    numbers: dict[str, Any] = run(rows, tempo_of(manifest.parent) if tempo else None)
    if as_json:
        typer.echo(json.dumps(numbers, indent=1))
        return
    for name, value in numbers.items():
        told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        typer.echo(f"{name:<16}{'unknown' if value is None else told}")
