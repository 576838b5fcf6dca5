"""`expotion features verify, prune, export, import`: the store's upkeep."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="The feature store; default: in the cache folder."),
]


class Format(StrEnum):
    """Of exported entries."""

    safetensors = "safetensors"
    npz = "npz"


class Times(StrEnum):
    """Where imported rows lie in time."""

    centre = "centre"
    start = "start"
    stretched = "stretched"


def verify(
    delete: Annotated[bool, typer.Option("--delete", help="Remove the damaged ones.")] = False,
    store: StoreOption = None,
) -> None:
    """Check every entry against its checksum; exits with 1 when some are damaged.

    \b
    Example: expotion features verify --delete
    """
    from expotion.features.catalogue import remove
    from expotion.features.catalogue import verify as check
    from expotion.features.store import FeatureStore

    where, n, damaged = FeatureStore(store), 0, []
    for _, fault in check(where):
        n += 1
        if fault is not None:
            damaged.append(fault)
            typer.echo(f"damaged: {fault.path}: {fault.why.removeprefix(f'{fault.path}: ')}")
            if delete:
                remove(fault.path)
    note = ", removed; they are computed again when they are needed" if delete and damaged else ""
    typer.echo(f"{n} entries in {where.folder}: {n - len(damaged)} whole, {len(damaged)} damaged{note}")
    if damaged:
        raise typer.Exit(1)


def prune(
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Entries older than this.")
    ] = None,
    max_size: Annotated[
        float | None, typer.Option("--max-size", metavar="MB", min=0, help="The oldest until the store fits.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Only this encoder's; alone: all of them.")
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Entries of code or weights that are not installed any more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Remove entries by age, total size, encoder, or because nothing would read them again.

    \b
    Example: expotion features prune --stale --dry-run
    Example: expotion features prune --older-than 90 --encoder motion_raft
    """
    import datetime

    from expotion.cli.features_view import size
    from expotion.errors import Problem, RecipeError
    from expotion.features.catalogue import remove, scan, select
    from expotion.features.store import FeatureStore
    from expotion.plugins import discover

    if older_than is None and max_size is None and encoder is None and not stale:
        fix = "for example --older-than 90"
        wanted = "one of --older-than, --max-size, --encoder, --stale"
        raise RecipeError(Problem("expotion features prune", wanted, "none", fix))
    rule = None
    if stale:
        from expotion.features.catalogue import Stale

        rule = Stale(discover())
    where = FeatureStore(store)
    entries, damaged = scan(where)
    chosen = select(
        entries,
        now=datetime.datetime.now(datetime.UTC),
        older_than_s=None if older_than is None else older_than * 86_400,
        encoder=encoder,
        max_bytes=None if max_size is None else round(max_size * 1e6),
        stale=rule,
    )
    for path, (entry, reason) in chosen.items():
        typer.echo(f"{entry.notes.get('clip', '?')}  {entry.encoder}  {size(entry.n_bytes)}  {reason}")
        if not dry_run:
            remove(path)
    freed = size(sum(entry.n_bytes for entry, _ in chosen.values()))
    done = "would be freed" if dry_run else "freed"
    typer.echo(f"{len(chosen)} of {len(entries)} entries, {freed} {done}")
    if damaged:
        typer.echo(f"{len(damaged)} damaged entries stay: `expotion features verify --delete`")


def export(
    to: Annotated[Path, typer.Argument(metavar="FOLDER|FILE.tar", help="A new folder, or one tar file.")],
    encoder: Annotated[str | None, typer.Option("--encoder", help="Only this encoder's.")] = None,
    clip: Annotated[str | None, typer.Option("--clip", help="Only clips whose id contains this.")] = None,
    format_: Annotated[
        Format,
        typer.Option("--format", help="npz is for other tools; only safetensors can be imported again."),
    ] = Format.safetensors,
    store: StoreOption = None,
) -> None:
    """Write entries and an index with their provenance (index.jsonl) for another machine.

    \b
    Example: expotion features export features.tar --encoder face_marlin
    """
    from expotion.errors import ExpotionError, Problem
    from expotion.features import archive
    from expotion.features.catalogue import scan
    from expotion.features.store import FeatureStore

    entries, damaged = scan(FeatureStore(store))
    chosen = [
        entry
        for entry in entries
        if (encoder is None or entry.encoder == encoder)
        and (clip is None or clip in entry.notes.get("clip", ""))
    ]
    if not chosen:
        raise ExpotionError(Problem("expotion features export", "at least one entry", "none"))
    left_out = archive.export(chosen, to, "npz" if format_ is Format.npz else "safetensors")
    for text in [*left_out, *(file.why for file in damaged)]:
        typer.echo(f"left out: {text}", err=True)
    typer.echo(f"{len(chosen) - len(left_out)} entries: {to}")
    if left_out or damaged:
        raise typer.Exit(1)


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="EXPORT|FILE.pt|FOLDER", help="An export, or precomputed features.")
    ],
    clip: Annotated[Path | None, typer.Option("--clip", help="The clip that FILE.pt belongs to.")] = None,
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", metavar="DIR", help="Clips for a folder of .pt, by name.")
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", metavar="FILE", help="Only the .pt that this list file names.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="NAME", help="The name that recipes ask for them by.")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", metavar="HZ", help="Rows per second.")] = None,
    times: Annotated[
        Times, typer.Option("--times", help="Row i at (i+1/2)/rate, i/rate, or stretched over the clip.")
    ] = Times.centre,
    store: StoreOption = None,
) -> None:
    """Take in an export of `features export`, or precomputed .pt features of clips.

    Recipes use the latter through the encoder `precomputed`.

    \b
    Example: expotion features import features.tar
    Example: expotion features import a.pt --clip a.mp4 --encoder raft_authors --rate 5
    Example: expotion features import raft_5fps/ --clips clips/ --encoder raft_authors --rate 5
    """
    from expotion.errors import MediaError, Problem, RecipeError
    from expotion.features.archive import bring_in
    from expotion.features.authors import FilesImported, import_file, import_folder
    from expotion.features.job import find_clips
    from expotion.features.store import FeatureStore

    if not source.exists():
        raise MediaError(Problem(str(source), "a file or a folder", "nothing there"))
    where = FeatureStore(store)
    if clip is None and not clips:
        if source.suffix == ".pt" or list_file or encoder or rate:
            fix = "add --clip CLIP for one file, --clips DIR for a folder"
            raise RecipeError(Problem(str(source), "the clips that the features belong to", "none", fix))
        done = bring_in(source, where)
        for text in done.refused:
            typer.echo(f"refused: {text}")
        typer.echo(f"{done.new} new, {done.known} there already, {len(done.refused)} refused: {where.folder}")
        if done.refused:
            raise typer.Exit(1)
        return
    if encoder is None or rate is None or not 0 < rate < 1e4:
        got = f"--encoder {encoder}, --rate {rate}"
        raise RecipeError(
            Problem(str(source), "a name and the rows per second", got, "--encoder NAME --rate HZ")
        )
    if clip is not None:
        out = FilesImported(done=1)
        file = find_clips([clip])[0]
        out.widths.add(import_file(source, file, encoder, rate, where, times.value))
    else:
        out = import_folder(source, list_file, clips or [], encoder, rate, where, times.value)
    for text in out.refused:
        typer.echo(f"refused: {text}")
    typer.echo(f"{out.done} imported, {len(out.refused)} refused: {where.folder}")
    for width in sorted(out.widths):
        asks = f"{{features: {encoder}, width: {width}, rate_hz: {rate:g}}}"
        typer.echo(f"In a recipe: encoder: precomputed, options: {asks}")
    if out.refused:
        raise typer.Exit(1)
