"""`expotion features ...`: extract features into the store, keep the store in order, show what an encoder saw."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from expotion.features.catalogue import Damaged, Entry
    from expotion.features.encoders import EncodersFactory
    from expotion.features.store import FeatureStore

app = typer.Typer(
    help="Extract, list, verify, prune, export, import and show features.\n\n"
    "\b\nExample: expotion features extract clips/ --encoder face_marlin",
    no_args_is_help=True,
    rich_markup_mode=None,
)
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="All encoders of a recipe, its file or name; default: of the adaptor that ships.",
    ),
]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="One encoder, with its default options.")
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of --encoder; may be given several times."),
]
StoreOption = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="The feature store; default: in the cache folder.")
]
OnlyEncoder = Annotated[str | None, typer.Option("--encoder", help="Only this encoder's.")]
OnlyClip = Annotated[str | None, typer.Option("--clip", help="Only clips whose id contains this.")]


class Format(StrEnum):
    """Of exported entries."""

    safetensors = "safetensors"
    npz = "npz"


class Times(StrEnum):
    """Where imported rows lie in time."""

    centre = "centre"
    start = "start"
    stretched = "stretched"


@app.command()
def extract(
    paths: Annotated[
        list[Path], typer.Argument(metavar="CLIP|FOLDER", help="Videos, and folders that are searched for them.")
    ],
    recipe: RecipeOption = None,
    encoder: EncoderOption = None,
    option: OptionsOption = None,
    codes: Annotated[
        bool, typer.Option("--codes", help="With --recipe: also the codes of the clips' own sound, for training.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processes of one thread each, here or over Ray; 0: one process, all threads (over Ray, a "
            "process per processor).",
        ),
    ] = 0,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS|local", help="Over a Ray cluster; local starts one here."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write a report of every clip as JSON.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Extract features of clips into the store; what is there already is skipped.

    Exits with 1 when clips failed; the others are done all the same.

    \b
    Example: expotion features extract clips/ --recipe face_motion --workers 4 --out report.json
    Example: expotion features extract a.mp4 --encoder motion_dis --option rate_hz=10
    """
    from expotion.cli.features_view import run_and_tell
    from expotion.features.job import find_clips
    from expotion.video.container import passed_over

    factory = _factory(recipe, encoder, option, codes)
    files = find_clips(paths)
    for path in paths:
        if path.is_dir() and (sounds := passed_over(path)) is not None:
            typer.echo(f"{path}: {sounds} passed over", err=True)
    if run_and_tell(files, factory, _open(store).folder, workers=workers, ray=ray, out=out):
        raise typer.Exit(1)


@app.command("list")
def list_(
    encoder: OnlyEncoder = None,
    clip: OnlyClip = None,
    json_: Annotated[bool, typer.Option("--json", help="One line of JSON per entry, with its provenance.")] = False,
    store: StoreOption = None,
) -> None:
    """List what is in the store, newest first.

    \b
    Example: expotion features list --encoder face_marlin
    """
    from expotion.cli.features_view import print_entries

    where = _open(store)
    shown, damaged = _chosen(where, encoder, clip)
    shown.sort(key=lambda entry: -entry.modified_s)
    if json_:
        for entry in shown:
            typer.echo(entry.index_line())
    else:
        print_entries(shown, where.folder)
    for file in damaged:
        typer.echo(f"damaged: {file.why}", err=True)


@app.command()
def show(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video.")],
    recipe: RecipeOption = None,
    encoder: EncoderOption = None,
    option: OptionsOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="The page; default: CLIP's name and .features.html."),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write one HTML page: the video with what the encoders looked at, and their tracks under it in sync.

    \b
    Example: expotion features show talk.mp4
    Example: expotion features show talk.mp4 --recipe face_motion --out talk.html
    """
    from expotion.features.job import find_clips
    from expotion.report.features import write_page

    factory = _factory(recipe, encoder, option, codes=False)
    page = out if out is not None else Path(f"{clip.stem}.features.html")
    for line in write_page(find_clips([clip])[0], factory(), _open(store), page):
        typer.echo(line)
    typer.echo(f"Page: {page}")


@app.command()
def verify(
    delete: Annotated[bool, typer.Option("--delete", help="Remove the damaged ones.")] = False,
    store: StoreOption = None,
) -> None:
    """Check every entry against its checksum; exits with 1 when some are damaged.

    \b
    Example: expotion features verify --delete
    """
    from expotion.features import catalogue

    where = _open(store)
    faults = [fault for _, fault in catalogue.verify(where)]
    damaged = [fault for fault in faults if fault is not None]
    for fault in damaged:
        typer.echo(f"damaged: {fault.path}: {fault.why.removeprefix(f'{fault.path}: ')}")
        if delete:
            catalogue.remove(fault.path)
    note = ", removed; they are computed again when they are needed" if delete and damaged else ""
    counts = f"{len(faults) - len(damaged)} whole, {len(damaged)} damaged{note}"
    typer.echo(f"{len(faults)} entries in {where.folder}: {counts}")
    if damaged:
        raise typer.Exit(1)


@app.command()
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    store: StoreOption = None,
) -> None:
    """Remove entries by age, total size, encoder, or because nothing would read them again.

    \b
    Example: expotion features prune --stale --dry-run
    Example: expotion features prune --older-than 90 --encoder motion_raft
    """
    from expotion.cli.features_view import size
    from expotion.errors import Problem, RecipeError
    from expotion.features.catalogue import Stale, remove, select
    from expotion.plugins import discover

    if older_than is None and max_size is None and encoder is None and not stale:
        fix = "for example --older-than 90"
        wanted = "one of --older-than, --max-size, --encoder, --stale"
        raise RecipeError(Problem("expotion features prune", wanted, "none", fix))
    entries, damaged = _chosen(_open(store))
    chosen = select(
        entries,
        older_than_s=None if older_than is None else older_than * 86_400,
        encoder=encoder,
        max_bytes=None if max_size is None else round(max_size * 1e6),
        stale=Stale(discover()) if stale else None,
    )
    for path, (entry, reason) in chosen.items():
        typer.echo(f"{entry.clip}  {entry.encoder}  {size(entry.n_bytes)}  {reason}")
        if not dry_run:
            remove(path)
    freed = size(sum(entry.n_bytes for entry, _ in chosen.values()))
    done = "would be freed" if dry_run else "freed"
    typer.echo(f"{len(chosen)} of {len(entries)} entries, {freed} {done}")
    if damaged:
        typer.echo(f"{len(damaged)} damaged entries stay: `expotion features verify --delete`")


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="FOLDER|FILE.tar", help="A new folder, or one tar file.")],
    encoder: OnlyEncoder = None,
    clip: OnlyClip = None,
    format_: Annotated[
        Format, typer.Option("--format", help="npz is for other tools; only safetensors can be imported again.")
    ] = Format.safetensors,
    store: StoreOption = None,
) -> None:
    """Write entries and an index with their provenance (index.jsonl) for another machine.

    \b
    Example: expotion features export features.tar --encoder face_marlin
    """
    from expotion.errors import ExpotionError, Problem
    from expotion.features import catalogue

    chosen, damaged = _chosen(_open(store), encoder, clip)
    if not chosen:
        raise ExpotionError(Problem("expotion features export", "at least one entry", "none"))
    left_out = catalogue.export(chosen, to, "npz" if format_ is Format.npz else "safetensors")
    for text in [*left_out, *(file.why for file in damaged)]:
        typer.echo(f"left out: {text}", err=True)
    typer.echo(f"{len(chosen) - len(left_out)} entries: {to}")
    if left_out or damaged:
        raise typer.Exit(1)


@app.command("import")
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
    from expotion.features.catalogue import bring_in
    from expotion.features.job import find_clips
    from expotion.features.precomputed import FilesImported, import_file, import_folder

    if not source.exists():
        raise MediaError(Problem(str(source), "a file or a folder", "nothing there"))
    where = _open(store)
    out = FilesImported()
    if clip is None and not clips:
        if source.suffix == ".pt" or list_file or encoder or rate:
            fix = "add --clip CLIP for one file, --clips DIR for a folder"
            raise RecipeError(Problem(str(source), "the clips that the features belong to", "none", fix))
        done = bring_in(source, where)
        counts, refused = f"{done.new} new, {done.known} there already", done.refused
    elif encoder is None or rate is None or not 0 < rate < 1e4:
        got, fix = f"--encoder {encoder}, --rate {rate}", "--encoder NAME --rate HZ"
        raise RecipeError(Problem(str(source), "a name and the rows per second", got, fix))
    else:
        if clip is not None:
            width = import_file(source, find_clips([clip])[0], encoder, rate, where, times.value)
            out = FilesImported(1, {width})
        else:
            files = find_clips(clips or [])
            out = import_folder(source, list_file, files, encoder, rate, where, times.value)
        counts, refused = f"{out.done} imported", out.refused
    for text in refused:
        typer.echo(f"refused: {text}")
    typer.echo(f"{counts}, {len(refused)} refused: {where.folder}")
    for width in sorted(out.widths):
        asks = f"{{features: {encoder}, width: {width}, rate_hz: {rate:g}}}"
        typer.echo(f"In a recipe: encoder: precomputed, options: {asks}")
    if refused:
        raise typer.Exit(1)


def _open(folder: Path | None) -> FeatureStore:
    from expotion.features.store import FeatureStore

    return FeatureStore(folder)


def _chosen(
    store: FeatureStore, encoder: str | None = None, clip: str | None = None
) -> tuple[list[Entry], list[Damaged]]:
    """Entries of an encoder, of clips whose id contains a text; and what is damaged."""
    from expotion.features.catalogue import scan

    entries, damaged = scan(store)
    mine = [entry for entry in entries if encoder in (None, entry.encoder)]
    return [entry for entry in mine if clip is None or clip in entry.notes.get("clip", "")], damaged


def _factory(recipe: str | None, encoder: str | None, option: list[str] | None, codes: bool) -> EncodersFactory:
    """Which encoders, checked before anything is built: without any, those of the adaptor that ships."""
    from expotion.cli.find import find_recipe
    from expotion.errors import Problem, RecipeError
    from expotion.features.encoders import EncodersFactory
    from expotion.plugins import discover

    if recipe is not None and encoder is not None:
        raise RecipeError(Problem("expotion features", "either --recipe or --encoder", "both", "leave out one"))
    if encoder is not None:
        if codes:
            fix = "leave out --encoder, or give --recipe in its place"
            raise RecipeError(Problem("--codes", "a recipe, whose backbone has the codec", "--encoder", fix))
        return EncodersFactory(encoder=encoder, options=_options(encoder, option))
    if option:
        fix = "name the encoder whose option it is"
        raise RecipeError(Problem("--option", "--encoder; a recipe says its own", "none", fix))
    from expotion.music.steering import described, find_adaptor
    from expotion.musicgen.load import backbone_folder
    from expotion.recipe import load_recipe

    registry = discover()
    if recipe is None:
        loaded, _ = described(find_adaptor(None, registry, None))
    else:
        loaded = load_recipe(find_recipe(recipe), registry=registry)
    codec = backbone_folder(loaded.backbone.source, registry) if codes else None
    return EncodersFactory(recipe=loaded.to_dict(), codec_source=codec)


def _options(encoder: str, given: list[str] | None) -> dict[str, object]:
    """Options of an encoder, their values read as YAML and checked by its model."""
    from pydantic import ValidationError

    from expotion.errors import Problem, RecipeError
    from expotion.plugins import discover
    from expotion.recipe.merge import typed
    from expotion.recipe.nodes import Node
    from expotion.recipe.pairs import split_pairs
    from expotion.recipe.problems import problems_of

    problems: list[Problem] = []
    model = discover().encoder(encoder).options
    pairs = split_pairs("--option", given, "KEY=VALUE", "geometry=base", problems)
    values = {name: typed(text, f"--option {name}={text}", problems) for name, text in pairs.items()}
    root = Node({name: node for name, node in values.items() if node is not None}, f"encoder {encoder}")
    try:
        checked = model.model_validate(root.plain())
    except ValidationError as error:
        problems += problems_of(error, model, root)
    if problems:
        raise RecipeError(problems)
    return checked.model_dump(mode="json")
