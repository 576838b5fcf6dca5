"""`expotion features ...`: extract features into the store, look at them, and show what an encoder saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expotion.cli import features_keep
from expotion.cli.features_keep import StoreOption
from expotion.errors import first_line

if TYPE_CHECKING:
    from expotion.features.job import EncodersFactory
    from expotion.recipe import Recipe

app = typer.Typer(
    help="Extract, list, verify, prune, export, import and show features.\n\n"
    "\b\nExample: expotion features extract clips/ --encoder face_marlin",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("verify")(features_keep.verify)
app.command("prune")(features_keep.prune)
app.command("export")(features_keep.export)
app.command("import")(features_keep.import_)
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", metavar="RECIPE", help="All encoders of a recipe: its file or name.")
]
EncoderOption = Annotated[
    str | None, typer.Option("--encoder", metavar="NAME", help="One encoder, with its default options.")
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of --encoder; may be given several times."),
]


@app.command()
def extract(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="CLIP|FOLDER...", help="Videos, and folders that are searched for them."),
    ],
    recipe: RecipeOption = None,
    encoder: EncoderOption = None,
    option: OptionsOption = None,
    codes: Annotated[
        bool,
        typer.Option("--codes", help="With --recipe: also the codes of the clips' own sound, for training."),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Processes, or Ray actors, of one thread each; 0: one process, all threads."
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
    Example: expotion features extract a.mp4 --encoder motion_raft --option rate_hz=10
    """
    from expotion.cli.features_view import run_and_tell
    from expotion.features.job import find_clips
    from expotion.features.store import FeatureStore

    factory = _factory(recipe, encoder, option, codes)
    files = find_clips(paths)
    folder = FeatureStore(store).folder
    if run_and_tell(files, factory, folder, workers=workers, ray=ray, out=out):
        raise typer.Exit(1)


@app.command("list")
def list_(
    encoder: Annotated[str | None, typer.Option("--encoder", help="Only this encoder's.")] = None,
    clip: Annotated[str | None, typer.Option("--clip", help="Only clips whose id contains this.")] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="One line of JSON per entry, with its provenance.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """List what is in the store, newest first.

    \b
    Example: expotion features list --encoder face_marlin
    """
    from expotion.cli.features_view import print_entries
    from expotion.features.catalogue import scan
    from expotion.features.store import FeatureStore

    where = FeatureStore(store)
    entries, damaged = scan(where)
    shown = [
        entry
        for entry in sorted(entries, key=lambda entry: -entry.modified_s)
        if (encoder is None or entry.encoder == encoder)
        and (clip is None or clip in entry.notes.get("clip", ""))
    ]
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
        typer.Option(
            "--out", "-o", metavar="FILE", help="The page; default: CLIP's name and .features.html."
        ),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Write one HTML page: the video with what the encoders looked at, and their tracks under it in sync.

    \b
    Example: expotion features show talk.mp4 --recipe face_motion --out talk.html
    """
    from expotion.features.job import find_clips
    from expotion.features.store import FeatureStore
    from expotion.report.features import write_page

    factory = _factory(recipe, encoder, option, False)
    page = out if out is not None else Path(f"{clip.stem}.features.html")
    for line in write_page(find_clips([clip])[0], factory(), FeatureStore(store), page):
        typer.echo(line)
    typer.echo(f"Page: {page}")


def _factory(
    recipe: str | None, encoder: str | None, option: list[str] | None, codes: bool
) -> EncodersFactory:
    """Which encoders, checked before anything is built."""
    from expotion.errors import Problem, RecipeError
    from expotion.features.job import EncodersFactory
    from expotion.plugins import discover

    if (recipe is None) == (encoder is None):
        got = "neither" if recipe is None else "both"
        raise RecipeError(Problem("expotion features", "either --recipe or --encoder", got))
    if encoder is not None:
        if codes:
            raise RecipeError(Problem("--codes", "a recipe, whose backbone has the codec", "--encoder"))
        options = _options(encoder, option)
        return EncodersFactory(encoder=encoder, options=options)
    if option:
        raise RecipeError(Problem("--option", "--encoder; a recipe says its own", "--recipe"))
    registry = discover()
    loaded = _load(str(recipe))
    if not codes:
        return EncodersFactory(recipe=loaded.to_dict())
    from expotion.assemble import backbone_folder

    return EncodersFactory(
        recipe=loaded.to_dict(), codec_source=backbone_folder(loaded.backbone.source, registry)
    )


def _load(name: str) -> Recipe:
    from expotion.cli.find import find_recipe
    from expotion.plugins import discover
    from expotion.recipe import load_recipe

    return load_recipe(find_recipe(name), registry=discover())


def _options(encoder: str, given: list[str] | None) -> dict[str, object]:
    """Options of an encoder, their values read as YAML and checked by its model."""
    import yaml
    from pydantic import ValidationError

    from expotion.cli.find import split_pairs
    from expotion.errors import Problem, RecipeError
    from expotion.plugins import discover

    problems: list[Problem] = []
    spec = discover().encoder(encoder)
    plain: dict[str, object] = {}
    for name, text in split_pairs("--option", given, "KEY=VALUE", "geometry=base", problems).items():
        try:
            plain[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            problems.append(Problem(f"--option {name}", "a value in YAML", first_line(error)))
    try:
        checked = spec.options(**plain)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            known = ", ".join(spec.options.model_fields) or "none"
            problems.append(Problem(f"{encoder} option {name}", fault["msg"], fix=f"options: {known}"))
    if problems:
        raise RecipeError(problems)
    return checked.model_dump(mode="json")
