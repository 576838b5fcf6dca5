"""`expotion plugin ...`: what is installed, what it offers, whether it keeps the contract, and a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="List, show, check and begin plugins.\n\n\b\nExample: expotion plugin list",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_() -> None:
    """List the plugins with version, health and what they offer.

    \b
    Example: expotion plugin list
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from expotion.plugins import discover

    registry = discover()
    table = Table(
        "distribution", "version", "health", "offers", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for plugin in registry.plugins:
        health = Text("ok", "green") if plugin.error is None else Text(f"broken: {plugin.error}", "red")
        offers = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in plugin.offers.items())
        table.add_row(plugin.distribution, plugin.version, health, offers)
    Console(soft_wrap=not Console().is_terminal).print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `plugin list`.")]) -> None:
    """Show one encoder, backbone, data source, metric or captioner with its options.

    \b
    Example: expotion plugin show face_marlin
    """
    from rich.console import Console

    from expotion.cli.plugin_view import describe
    from expotion.plugins import discover

    console = Console(soft_wrap=True, highlight=False)
    for line in describe(discover(), name):
        console.print(line, markup=False)


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An encoder, metric, data source or captioner.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", metavar="OPTION=VALUE", help="An option of it; may be repeated."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option("--track", metavar="NAME=FILE", help="A sensor file for an encoder that reads one."),
    ] = None,
    level: Annotated[str, typer.Option("--level", help="quick, or full with every frame rate.")] = "quick",
) -> None:
    """Check that a plugin keeps the contract; exits with 1 where it does not.

    \b
    Example: expotion plugin check face_marlin --set geometry=tiny
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from expotion.cli.plugin_view import results_of
    from expotion.testing import LEVELS

    if level not in LEVELS:
        raise typer.BadParameter(f"one of {', '.join(LEVELS)}", param_hint="--level")
    results = results_of(name, _options(set_ or []), track or [], level)
    marks = {True: Text("ok", "green"), False: Text("failed", "red"), None: Text("not run", "yellow")}
    table = Table("check", "result", "what was found", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for result in results:
        fix = f" -> {result.fix}" if result.passed is False and result.fix else ""
        table.add_row(result.name, marks[result.passed], f"{result.detail}{fix}")
    console = Console()
    console.print(table)
    failed = sum(result.passed is False for result in results)
    console.print(f"{name}: {len(results)} checks, {failed} failed")
    if failed:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its name in recipes.")] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="video, audio, track, token, metric, data or captioner."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the package's folder is made.")
    ] = Path(),
    author: Annotated[str, typer.Option("--author", help="For pyproject.toml and the licence.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="MIT or Apache-2.0.")] = "MIT",
    description: Annotated[str, typer.Option("--description", help="One line.")] = "",
) -> None:
    """Write the package of a new plugin that works, passes its tests and trains in its recipe.

    What is missing is asked for on a terminal.

    \b
    Example: expotion plugin new gaze --kind video --dir ~/plugins
    """
    from rich.console import Console

    from expotion.scaffold.write import complete, write_package

    blueprint = complete(name, kind, author, licence, description)
    made = write_package(blueprint, folder.expanduser())
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Wrote {made}", markup=False)
    for line in (
        "Next:",
        f"  cd {made}",
        "  pip install -e . pytest",
        "  pytest",
        "  expotion recipe run recipe.yaml",
    ):
        console.print(line, markup=False)


def _options(assignments: list[str]) -> dict[str, Any]:
    from expotion.errors import ExpotionError, Problem
    from expotion.recipe.nodes import parse_scalar
    from expotion.recipe.pairs import split_pairs

    problems: list[Problem] = []
    pairs = split_pairs("--set", assignments, "OPTION=VALUE", "size=small", problems)
    if problems:
        raise ExpotionError(problems)
    return {name: parse_scalar(value) for name, value in pairs.items()}
