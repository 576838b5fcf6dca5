"""`expotion recipe ...`: check, rehearse, run, list, show and copy recipes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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

    named = _Named(recipe, profile, set_)
    registry = named.registry
    if (task := named.task()) is not None:
        _print_task(task, registry)
        return
    lacks: list[Lack] = []
    matrix = named.matrix(lacks=lacks)
    loaded = matrix.cells[0].recipe if matrix is not None else named.recipe(lacks=lacks)
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
    named = _Named(recipe, profile, [*set_, *on_ray])
    task, registry = named.task(ready=True), named.registry
    if task is None and (matrix := _Named(recipe, profile, set_).matrix()) is not None:
        from expotion.matrix.run import run_matrix

        done = run_matrix(
            matrix=matrix, registry=registry, out_dir=folder or out, console=console, parallel=parallel, ray=ray
        )
    else:
        from expotion.run.stages import run_recipe

        one = task or named.recipe(ready=True)
        done = run_recipe(recipe=one, registry=registry, out_dir=out, resume=again, console=console)
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
    named = _Named(recipe, profile, set_)
    registry = named.registry
    if (of_plugin := named.task()) is not None:
        of_task = cost_of_task(of_plugin, registry, table)
        if json_:
            typer.echo(json.dumps(of_task, indent=2))
        else:
            print_cost(of_task, Console())
        return
    lacks: list[Lack] = []
    matrix = named.matrix(lacks=lacks)
    recipes = [named.recipe(lacks=lacks)] if matrix is None else [cell.recipe for cell in matrix.cells]
    name, base = recipes[0].name if matrix is None else matrix.name, _Named(recipe).recipe()
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
        named = _Named(recipe, profile, set_)
        text = (named.task() or named.recipe()).to_yaml()
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


class _Named:
    """A recipe as the command line names it, to be read as what it may be."""

    def __init__(self, name: str, profile: str | None = None, sets: Sequence[str] | None = None) -> None:
        from expotion.cli.find import find_recipe
        from expotion.plugins import discover

        self.registry = discover()
        self._given: dict[str, Any] = {
            "path": find_recipe(name),
            "registry": self.registry,
            "profile": profile,
            "sets": sets or (),
        }

    def recipe(self, *, ready: bool = False, lacks: list[Lack] | None = None) -> Recipe:
        from expotion.recipe import load_recipe

        return load_recipe(**self._given, ready=ready, lacks=lacks)

    def task(self, *, ready: bool = False) -> TaskRecipe | None:
        from expotion.recipe.tasks import load_task

        return load_task(**self._given, ready=ready)

    def matrix(self, *, lacks: list[Lack] | None = None) -> Matrix | None:
        from expotion.matrix.declare import load_matrix

        return load_matrix(**self._given, ready=lacks is None, lacks=lacks)


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


def _recipe_of_run(folder: Path) -> Path:
    from expotion.errors import Problem, RunFolderError

    path = folder / "recipe.yaml"
    if not path.is_file():
        fix = "name the folder of a run, one that holds recipe.yaml"
        raise RunFolderError(Problem(str(folder), "a run folder", "no recipe.yaml in it", fix))
    return path
