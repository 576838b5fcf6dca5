"""`expotion plugin ...`: what is installed, what it offers, whether it keeps the contract, and a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from expotion.plugins import Registry
    from expotion.testing import CheckResult

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
    from rich.text import Text

    from expotion.plugins import discover
    from expotion.progress import columns

    registry = discover()
    table = columns("distribution", "version", "health", "offers")
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

    from expotion.plugins import discover

    console = Console(soft_wrap=True, highlight=False)
    for line in _describe(discover(), name):
        console.print(line, markup=False)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An encoder, metric, data source or captioner.")],
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
    from rich.text import Text

    from expotion.progress import columns
    from expotion.testing import LEVELS

    if level not in LEVELS:
        raise typer.BadParameter(f"one of {', '.join(LEVELS)}", param_hint="--level")
    results = _results(name, set_ or [], track or [], level)
    marks = {True: Text("ok", "green"), False: Text("failed", "red"), None: Text("not run", "yellow")}
    table = columns("check", "result", "what was found")
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
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name in recipes.")] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="video, audio, track, token, metric, data or captioner.")
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
    console.print(f"Wrote {made}\nNext:", markup=False)
    for line in (f"cd {made}", "pip install -e . pytest", "pytest", "expotion recipe run recipe.yaml"):
        console.print(f"  {line}", markup=False)


def _results(name: str, set_: list[str], track: list[str], level: str) -> list[CheckResult]:
    """Results of the suite of whatever has that name. Raises PluginError where nothing has."""
    from expotion import testing
    from expotion.errors import ExpotionError, Problem
    from expotion.plugins import discover
    from expotion.recipe.nodes import parse_scalar
    from expotion.recipe.pairs import split_pairs

    problems: list[Problem] = []
    pairs = split_pairs("--set", set_, "OPTION=VALUE", "size=small", problems)
    options = {option: parse_scalar(value) for option, value in pairs.items()}
    wanted = "NAME=FILE with a file that is there"
    files = split_pairs("--track", track, wanted, "gaze=gaze.csv", problems)
    tracks = {sensor: Path(text).expanduser() for sensor, text in files.items()}
    problems += [
        Problem(f"--track {sensor}={path}", wanted, "no such file")
        for sensor, path in tracks.items()
        if not path.is_file()
    ]
    if problems:
        raise ExpotionError(problems)
    registry = discover()
    if name not in registry.encoders:
        if name in registry.metrics:
            return testing.run_metric_checks(registry.metric(name))
        if name in registry.offers("data source"):
            return testing.run_data_source_checks(registry.data_source(name), options)
        if name in registry.offers("captioner"):
            return testing.run_captioner_checks(registry.captioner(name), options)
    return testing.run_checks(registry.encoder(name), options, tracks=tracks, level=level)


def _describe(registry: Registry, name: str) -> list[str]:
    """Lines about everything that is offered under that name, or about the distribution of that name."""
    from expotion.errors import PluginError, Problem, near
    from expotion.plugins import KINDS

    lines: list[str] = []
    for kind in KINDS:
        if name in registry.offers(kind):
            offer = registry.offers(kind)[name]
            lines += [f"{name}: {kind} of {offer.distribution} {offer.version}", f"  {offer.spec.description}"]
            lines += [f"  {line}" for line in _details(kind, offer.spec)]
    for plugin in registry.plugins:
        if name in (plugin.name, plugin.distribution) and not lines:
            lines.append(f"{plugin.distribution} {plugin.version}")
            lines.append(f"  broken: {plugin.error}" if plugin.error else "  health: ok")
            lines += [f"  {kind}: {', '.join(names)}" for kind, names in plugin.offers.items()]
    if lines:
        return lines
    known = sorted({name for kind in KINDS for name in registry.offers(kind)})
    fix = near(name, known) or registry.explain_missing("encoder", name)[2]
    raise PluginError(Problem(f"plugin {name!r}", "a name that a plugin offers", None, fix))


def _details(kind: str, spec: Any) -> Iterator[str]:
    if hasattr(spec, "licence"):
        yield f"licence: {spec.licence}" + (" (non-commercial)" if getattr(spec, "non_commercial", False) else "")
    if kind == "encoder":
        yield f"needs: {', '.join(sorted(spec.needs))}; feeds: {spec.feeds}; smoother: {spec.smoother}"
        yield from _of_defaults(spec)
    if kind == "metric":
        direction = "higher" if spec.higher_is_better else "lower"
        yield f"{direction} is better" + (f"; unit: {spec.unit}" if spec.unit else "")
        if spec.over == "set":
            yield "over: the set of all sounds, one number for each condition"
        if spec.sample_rate_hz:
            yield f"sample rate: {spec.sample_rate_hz} Hz"
        if spec.source:
            yield f"source: {spec.source}"
        if spec.packages:
            yield f"packages: {', '.join(spec.packages)}"
        for weights in spec.weights:
            note = " (non-commercial)" if weights.non_commercial else ""
            yield f"weights: {weights.name}, {weights.source}, {weights.licence}{note}"
        if spec.measured_with():
            yield f"here: {spec.measured_with()}"
        yield from (f"missing: {lack.wanted}, {lack.got}; {lack.fix}" for lack in spec.missing())
        if spec.not_comparable_with:
            yield f"not comparable with: {spec.not_comparable_with}"
    if hasattr(spec, "options"):
        yield from _options(spec.options)


def _of_defaults(spec: Any) -> Iterator[str]:
    from pydantic import ValidationError

    try:
        options = spec.options()
    except ValidationError:
        return
    rate_hz = spec.rate_hz(options)
    yield f"width: {spec.width(options)}; rate: {f'{rate_hz:g} Hz' if rate_hz else 'none of its own'}"
    for weights in spec.weights(options):
        note = " (non-commercial)" if weights.non_commercial else ""
        size = f", {weights.size_bytes / 1e6:.1f} MB" if weights.size_bytes else ""
        yield f"weights: {weights.name}, {weights.source}, {weights.licence}{note}{size}"


def _options(model: type[BaseModel]) -> Iterator[str]:
    if not model.model_fields:
        yield "options: none"
        return
    yield "options:"
    for name, info in model.model_fields.items():
        annotation = info.annotation
        kind = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        default = "required" if info.is_required() else f"default {info.get_default(call_default_factory=True)!r}"
        yield f"  {name}: {kind}, {default}" + (f". {info.description}" if info.description else "")
