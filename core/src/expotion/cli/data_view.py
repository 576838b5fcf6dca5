"""What `expotion data` tells of lists and manifests: check, audit, stats, overview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest.jsonl.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SHOWN = 20


def check(manifest: Manifest) -> None:
    """Hold a manifest against its files: all there, unchanged, long enough, at the stated rate.

    \b
    Example: expotion data check corpus/split.jsonl
    """
    from rich.console import Console

    from expotion.corpus.schema import ManifestError
    from expotion.corpus.verify import verify
    from expotion.pipeline.progress import stage_progress

    console = Console(soft_wrap=True, highlight=False)
    with stage_progress(console, "check") as progress:
        rows, problems = verify(manifest, progress)
    if problems:
        raise ManifestError(problems)
    console.print(f"{manifest}: {len(rows)} clips, all as they were prepared", markup=False)


def audit(
    lists: Annotated[list[Path], typer.Argument(help="A split list or folder, or one list for each part.")],
    by: Annotated[str | None, typer.Option(help="Fields to compare; default: all.")] = None,
    fingerprints: Annotated[bool, typer.Option(help="Compare the sounds as well.")] = True,
    root: Annotated[
        Path | None, typer.Option(help="Where paths in a list start; default: its folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the whole report as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find leaks by metadata and by sound; exit code 1 when there are any.

    \b
    Example: expotion data audit train.txt test.txt
    """
    from rich.console import Console

    from expotion.corpus.audit import FIELDS
    from expotion.corpus.audit import audit as run
    from expotion.corpus.schema import ManifestError
    from expotion.errors import Problem
    from expotion.files import write_json
    from expotion.pipeline.progress import stage_progress

    fields = FIELDS if by is None else tuple(word.strip() for word in by.split(",") if word.strip())
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ManifestError(Problem("--by", f"some of {', '.join(FIELDS)}", ", ".join(unknown)))
    with stage_progress(Console(stderr=True, soft_wrap=True), "audit") as progress:
        report = run(lists, fields=fields, root=root, fingerprints=fingerprints, progress=progress)
    if out is not None:
        write_json(out, report)
    if as_json:
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False, default=str))
    else:
        _print_audit(report)
    if report["leaks"]:
        raise typer.Exit(1)


def _print_audit(report: dict[str, Any]) -> None:
    leaks = report["leaks"]
    for leak in leaks[:SHOWN]:
        told = "; ".join(f"{part}: {', '.join(ids[:3])}" for part, ids in leak["clips"].items())
        typer.echo(f"leak by {leak['by']}: {leak['value']} ({told})")
    if len(leaks) > SHOWN:
        typer.echo(f"... and {len(leaks) - SHOWN} more; --out FILE writes them all")
    for line in report["summary"]:
        values = f"{line['shared']} of {line['values']} values, " if "values" in line else ""
        told = f"{values}{line['leaking_clips']} of {line['clips']} clips also elsewhere"
        typer.echo(f"{line['by']:<12}{line['part']}: {told}")
    for line in report["unread"][:5]:
        typer.echo(f"not heard: {line}", err=True)
    if len(report["unread"]) > 5:
        typer.echo(f"... {len(report['unread'])} clips were not heard", err=True)
    for field, count in report["unknown"].items():
        if count:
            typer.echo(f"{field} is not known of {count} clips", err=True)
    counts = ", ".join(f"{name} {count}" for name, count in report["parts"].items())
    heard = f"; {report['heard']} heard" if report["fingerprints"] else "; sounds were not compared"
    typer.echo(f"{len(leaks)} leaks; clips: {counts}{heard}")


def stats(
    manifest: Manifest,
    tempo: Annotated[bool, typer.Option(help="Estimate tempi; decodes every sound.")] = True,
    html: Annotated[Path | None, typer.Option(help="Write a page with players as well.")] = None,
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
    else:
        for name, value in numbers.items():
            told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
            typer.echo(f"{name:<18}{'unknown' if value is None else told or 'none'}")
    if html is not None:
        overview(manifest, html)


def overview(
    manifest: Manifest,
    out: Annotated[Path | None, typer.Option(help="Default: NAME.html beside the manifest.")] = None,
    embed: Annotated[bool, typer.Option(help="Put small copies of the clips into the page.")] = False,
    most: Annotated[int, typer.Option(min=1, help="Clips with players, those with problems first.")] = 300,
) -> None:
    """Write a page to look through: players, captions, loudness, problems, histograms.

    \b
    Example: expotion data overview corpus/split.jsonl
    """
    from expotion.cli.data_overview import write_overview

    path = out or manifest.with_suffix(".html")
    for note in write_overview(manifest, path, embed=embed, most=most):
        typer.echo(note, err=True)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
