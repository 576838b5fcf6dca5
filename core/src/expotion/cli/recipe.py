"""`expotion recipe ...`: check, rehearse, run, list, show and copy recipes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from expotion import streams

if TYPE_CHECKING:
    from expotion.matrix.declare import Matrix
    from expotion.plugins import Registry
    from expotion.recipe import Recipe
    from expotion.recipe.lacks import Lack
    from expotion.recipe.tasks import TaskRecipe

app = typer.Typer(
    help="Check, rehearse, run, list, show and copy recipes.\n\n\b\nExample: expotion recipe check face_motion",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or a name from `recipe list`.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", "-p", help="A profile of the recipe, for example best.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="PATH=VALUE", help="Change one field; may be given several times."),
]


@app.command()
def check(recipe: RecipeArgument, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Check a recipe and show each stage with its shapes and rates, then what a run lacks here. Needs no weights.

    Of a recipe with a matrix it shows the cells, what they share, and the estimated time and disk.

    \b
    Example: expotion recipe check recipes/face_motion.yaml --set conditions[motion].rank=4
    """
    from expotion.cli.recipe_view import print_matrix, print_plan
    from expotion.errors import RecipeError
    from expotion.evaluate.outside import outside_rows
    from expotion.recipe.plan import clips_or_lack, plan_of

    if (task := _load_task(recipe, profile, set_)) is not None:
        _print_task(*task)
        return
    lacks: list[Lack] = []
    matrix, registry = _load_matrix(recipe, profile, set_, lacks=lacks)
    loaded = matrix.cells[0].recipe if matrix is not None else _load(recipe, profile, set_, lacks=lacks)[0]
    outside = matrix.outside if matrix is not None else loaded.evaluate.outside
    found = clips_or_lack(loaded, registry, lacks, train=matrix is None and bool(loaded.conditions))
    if all(lack.weights is not None for lack in lacks):
        assert found is not None
        outside_rows(outside, found.test)
    if matrix is not None:
        print_matrix(matrix, registry, lacks)
    else:
        print_plan(loaded, plan_of(loaded, registry, found), registry, lacks)
    if left := [lack.problem for lack in lacks if not lack.fetched]:
        raise RecipeError(left)


@app.command()
def run(
    recipe: Annotated[
        str | None, typer.Argument(metavar="RECIPE", help="A recipe file or name; with --resume DIR not needed.")
    ] = None,
    profile: ProfileOption = None,
    set_: SetOption = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="DIR|auto", help="Go on with a run: its folder, or the newest that fits."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="The run folder; made if it does not exist.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=0, help="Train in N processes; as --set train.workers=N."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS|local",
            help="A Ray cluster for them (as --set cluster.ray=ADDRESS), or for the cells of a matrix.",
        ),
    ] = None,
    parallel: Annotated[
        int, typer.Option("--parallel", metavar="N", min=1, help="Cells of a matrix at the same time.")
    ] = 1,
) -> None:
    """Run a recipe from end to end and write a run folder with a report.

    \b
    Example: expotion recipe run recipes/face_motion.yaml
    Example: expotion recipe run recipes/face_motion.yaml --profile best --out runs/best
    Example: expotion recipe run --resume runs/best
    Example: expotion recipe run recipes/table1.yaml --parallel 2
    """
    from rich.console import Console

    from expotion.errors import Problem, RecipeError

    folder = Path(resume) if resume not in (None, "auto") else None
    if recipe is None:
        if folder is None:
            fix = "name a recipe, or the folder of a run to go on with: --resume DIR"
            raise RecipeError(Problem("expotion recipe run", "a recipe", "none", fix))
        recipe = str(_recipe_of_run(folder))
    set_ = [*(set_ or ()), *([] if workers is None else [f"train.workers={workers}", "cluster.workers=null"])]
    console = Console()
    again: Path | Literal["auto"] | None = "auto" if resume == "auto" else folder
    on_ray = [] if ray is None else [f"cluster.ray={ray}"]
    if (task := _load_task(recipe, profile, [*set_, *on_ray], ready=True)) is not None:
        from expotion.run.tasks import run_task

        done = run_task(recipe=task[0], registry=task[1], out_dir=out, resume=again, console=console)
    elif (found := _load_matrix(recipe, profile, set_))[0] is not None:
        from expotion.matrix.run import run_matrix

        done = run_matrix(
            matrix=found[0], registry=found[1], out_dir=folder or out, console=console, parallel=parallel, ray=ray
        )
    else:
        from expotion.run.stages import run_recipe

        loaded, registry = _load(recipe, profile, [*set_, *on_ray], ready=True)
        done = run_recipe(recipe=loaded, registry=registry, out_dir=out, resume=again, console=console)
    report = done / "report.html"
    told = f"Report: {report if report.is_file() else done}"
    console.print(told, soft_wrap=True, highlight=False, markup=False)


@app.command()
def rehearse(
    recipe: RecipeArgument,
    profile: ProfileOption = None,
    set_: SetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write the temporary files without asking.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where the temporary files go; removed at the end.")
    ] = None,
    gpus: Annotated[
        Path | None, typer.Option("--gpus", metavar="FILE", help="A YAML file of more GPUs for the table.")
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print what was found as JSON, on standard output.")
    ] = False,
) -> None:
    """Walk a recipe's stages on one clip and one step, with weights of a seed in place of missing ones.

    All sizes are the real ones. Says what is missing and must be downloaded, what disk and memory it takes, and
    what the whole run will take here and on a GPU.

    \b
    Example: expotion recipe rehearse face_motion --profile paper --set backbone.source=hf:facebook/musicgen-small
    """
    import json

    from rich.console import Console

    from expotion.cli.recipe_view import print_before, print_cost, print_rehearsal
    from expotion.errors import ExpotionError, Problem
    from expotion.machine.gpus import GPUS, read_gpus
    from expotion.rehearse.estimate import cost_of_task
    from expotion.rehearse.walk import rehearse, task_of

    table = GPUS if gpus is None else read_gpus(gpus)
    if (found_task := _load_task(recipe, profile, set_)) is not None:
        of_task = cost_of_task(*found_task, table)
        if json_:
            typer.echo(json.dumps(of_task, indent=2))
        else:
            print_cost(of_task, Console())
        return
    lacks: list[Lack] = []
    matrix, registry = _load_matrix(recipe, profile, set_, lacks=lacks)
    if matrix is not None:
        recipes, name = [cell.recipe for cell in matrix.cells], matrix.name
    else:
        loaded, registry = _load(recipe, profile, set_, lacks=lacks)
        recipes, name = [loaded], loaded.name
    base, _ = _load(recipe, None, None)
    task = task_of(name, recipes, registry, lacks, base.data, table=matrix is not None)
    console = Console(stderr=json_)
    print_before(task, console)
    if not yes:
        try:
            go_on = typer.confirm("Go on?", default=False, err=json_)
        except typer.Abort:
            fix = "answer on a terminal, or give --yes"
            raise ExpotionError(Problem("expotion recipe rehearse", "an answer", "none", fix)) from None
        if not go_on:
            raise typer.Exit(1)
    with streams.apart() if json_ else nullcontext():
        found = rehearse(task, registry, console, table, parent=folder)
    if json_:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        print_rehearsal(found, console)


@app.command("list")
def list_(
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where to look; by default the nearest folder named recipes.")
    ] = None,
) -> None:
    """List the recipes here with their profiles.

    \b
    Example: expotion recipe list
    """
    from rich.console import Console

    from expotion.cli.find import recipe_files
    from expotion.errors import ExpotionError
    from expotion.progress import columns
    from expotion.recipe import load_recipe, read_profiles
    from expotion.recipe.tasks import load_task

    table = columns("recipe", "description", "profiles")
    for path in recipe_files(folder):
        try:
            loaded = load_task(path, registry=None) or load_recipe(path, registry=None)
            table.add_row(path.stem, loaded.description, ", ".join(read_profiles(path)))
        except ExpotionError as error:
            table.add_row(path.stem, f"[red]{len(error.problems)} problems: expotion recipe check {path}[/red]", "")
    Console().print(table)


@app.command()
def show(recipe: RecipeArgument, profile: ProfileOption = None, set_: SetOption = None) -> None:
    """Show a recipe as it would run, with every default spelt out.

    \b
    Example: expotion recipe show face_motion --profile paper
    """
    with streams.apart():
        task = _load_task(recipe, profile, set_)
        text = task[0].to_yaml() if task is not None else _load(recipe, profile, set_)[0].to_yaml()
    typer.echo(text, nl=False)


@app.command()
def copy(
    recipe: RecipeArgument,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; must not exist yet.")],
) -> None:
    """Copy a recipe to a file of your own.

    \b
    Example: expotion recipe copy face_motion my_recipe.yaml
    """
    from expotion.cli.find import find_recipe
    from expotion.errors import Problem, RecipeError

    source = find_recipe(recipe)
    if target.is_dir():
        target = target / source.name
    try:
        text = source.read_bytes()
        with target.open("xb") as file:
            file.write(text)
    except FileExistsError:
        raise RecipeError(
            Problem(str(target), "a file that does not exist yet", None, "choose another name")
        ) from None
    typer.echo(f"{target}: change it, then `expotion recipe check {target}`")


def _load(
    name: str, profile: str | None, sets: list[str] | None, *, ready: bool = False, lacks: list[Lack] | None = None
) -> tuple[Recipe, Registry]:
    from expotion.cli.find import find_recipe
    from expotion.plugins import discover
    from expotion.recipe import load_recipe

    registry, path = discover(), find_recipe(name)
    loaded = load_recipe(path, registry=registry, profile=profile, sets=sets or (), ready=ready, lacks=lacks)
    return loaded, registry


def _load_task(
    name: str, profile: str | None, sets: list[str] | None, *, ready: bool = False
) -> tuple[TaskRecipe, Registry] | None:
    from expotion.cli.find import find_recipe
    from expotion.plugins import discover
    from expotion.recipe.tasks import load_task

    registry = discover()
    task = load_task(find_recipe(name), registry=registry, profile=profile, sets=sets or (), ready=ready)
    return None if task is None else (task, registry)


def _print_task(recipe: TaskRecipe, registry: Registry) -> None:
    """The stages, and what a run lacks here; RecipeError where it lacks something."""
    from expotion.errors import RecipeError

    spec = registry.offer("task", recipe.task).spec
    options = spec.options(**recipe.options)
    typer.echo(f"{recipe.name}: task {spec.name}, {spec.description}")
    typer.echo(f"stages: {', '.join(stage.name for stage in spec.stages(options))}")
    typer.echo(f"metrics: {', '.join(recipe.evaluate.metrics or ()) or 'none'}")
    lacks = [problem for name in recipe.evaluate.metrics or () for problem in registry.metric(name).missing()]
    if lacks := [*lacks, *spec.missing(options)]:
        raise RecipeError(lacks)


def _load_matrix(
    name: str, profile: str | None, sets: list[str] | None, *, lacks: list[Lack] | None = None
) -> tuple[Matrix | None, Registry]:
    from expotion.cli.find import find_recipe
    from expotion.matrix.declare import load_matrix
    from expotion.plugins import discover

    registry, path = discover(), find_recipe(name)
    matrix = load_matrix(
        path, registry=registry, profile=profile, sets=sets or (), ready=lacks is None, lacks=lacks
    )
    return matrix, registry


def _recipe_of_run(folder: Path) -> Path:
    from expotion.errors import Problem, RunFolderError

    path = folder / "recipe.yaml"
    if not path.is_file():
        fix = "name the folder of a run, one that holds recipe.yaml"
        raise RunFolderError(Problem(str(folder), "a run folder", "no recipe.yaml in it", fix))
    return path
