"""`expotion`: the commands and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import functools
import gc
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from expotion import streams
from expotion.cli import doctor, features, generate, plugin, recipe
from expotion.errors import ExpotionError, PluginError, Problem, in_short
from expotion.files import lend_caches

GROUP = "expotion.commands"
"""Entry points of other distributions' commands: the name is the command's, the value a `typer.Typer`."""

EXTENSIONS = {
    "adaptor": ("expotion-hub", "Publish, fetch and describe trained adaptors."),
    "data": ("expotion-corpus", "Prepare, split and check clips of your own."),
    "live": ("expotion-live", "Make music for a camera while it looks."),
    "models": ("expotion-hub", "List, show and download official weights."),
    "movement": ("expotion-movement", "Write a clip's movement as MIDI and as a table."),
    "play": ("expotion-live", "Make music for a clip and hear it while it is made."),
    "studio": ("expotion-studio", "Compose, record and train in a page of the browser."),
    "study": ("expotion-study", "Build, serve and analyse a blind listening test."),
    "verify": ("expotion-verify", "Compare this installation with golden files."),
}
"""Our own commands that stand in other distributions: which, and their line in the help."""

parser = functools.cache(typer.main.get_command)
"""The commands of a typer application. Building them reads every type hint: once in a process is enough."""


class Commands(TyperGroup):
    """Core's commands, then those of other distributions, which are loaded when they are called and not before.

    A command of core's own is never replaced.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        own = super().list_commands(ctx)
        return [*own, *sorted({*EXTENSIONS, *_offered()}.difference(own))]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The help's list of commands; nothing is imported for it."""
        own = {name: super(Commands, self).get_command(ctx, name) for name in self.list_commands(ctx)}
        width = formatter.width - 6 - max(map(len, own))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, found.get_short_help_str(width) if found else _about(name)) for name, found in own.items()]
            )

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None. Raises `PluginError` for one that is not installed or broken."""
        own = super().get_command(ctx, cmd_name)
        if own is not None or ctx.resilient_parsing:
            return own
        point, where = _offered().get(cmd_name), f"command {cmd_name!r}"
        if point is None and cmd_name in EXTENSIONS:
            package = EXTENSIONS[cmd_name][0]
            wanted = f"comes with {package}, which is not installed"
            raise PluginError(Problem(where, wanted, fix=f"install it: uv add {package}"))
        if point is None:
            return None
        package = getattr(point.dist, "name", point.value)
        try:
            with streams.apart():
                loaded = point.load()
        except (Exception, SystemExit) as error:  # a plugin may raise anything
            wanted = "a plugin that can be loaded"
            raise PluginError(Problem(where, wanted, f"{package}, broken: {in_short(error)}")) from error
        if not isinstance(loaded, typer.Typer):
            raise PluginError(Problem(where, "a typer.Typer", f"{point.value} of {package}"))
        return parser(loaded)


@functools.cache  # every distribution is looked through
def _offered() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def _about(name: str) -> str:
    """The line of a command of another distribution."""
    point = _offered().get(name)
    if name in EXTENSIONS:
        package, line = EXTENSIONS[name]
        return line if point else f"{line} Not installed: uv add {package}"
    dist = point.dist if point else None
    return f"{dist.metadata['Summary']} ({dist.name})" if dist else "A plugin's command."


HELP = """Music that follows a face and a body.

Train controls over a frozen MusicGen from a recipe, measure them, and make music for any clip.

\b
Example: expotion recipe run recipes/face_motion.yaml
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    cls=Commands,
)
app.add_typer(recipe.app, name="recipe")
app.add_typer(plugin.app, name="plugin")
app.add_typer(features.app, name="features")
app.command("generate", help=generate.HELP, cls=generate.Generate)(generate.generate)
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.command("again", help=generate.AGAIN_HELP)(generate.again)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"expotion {version('expotion')}")
        raise typer.Exit


@app.callback()
def _global_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    # Both act before any command: --version in its callback, --debug in `main`.
    del debug, version


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Codes: 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C."""
    gc.set_threshold(50_000)  # what is imported stays: fewer searches for garbage among it
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    gc.freeze()  # the process ends: its several searches on the way out would take most of a second
    raise SystemExit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. With --debug, anywhere, errors raise instead."""
    debug = "--debug" in arguments
    # Our own progress lines say what is loaded; the library's belong to a debugging session.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if debug else "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0" if debug else "1")
    lend_caches()
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = _spell_out([argument for argument in arguments if argument != "--debug"])
    try:
        parser(app)(given, prog_name="expotion")
    except SystemExit as leaving:
        stop = _interrupt_behind(leaving)
        if stop is not None:
            return _stopped(stop)
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except KeyboardInterrupt as stop:
        return _stopped(stop)
    except Exception as error:
        if debug:
            raise
        return _failed(error)
    return 0


def _spell_out(arguments: list[str]) -> list[str]:
    """A bare `--resume` means `--resume auto`: it takes a value."""
    spelt = []
    for index, argument in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        stands_alone = not following or following.startswith("-") or following.endswith((".yaml", ".yml"))
        if argument == "--resume" and stands_alone:
            spelt.append("--resume=auto")
        else:
            spelt.append(argument)
    return spelt


def _interrupt_behind(leaving: BaseException) -> KeyboardInterrupt | None:
    """The Ctrl-C that the command line library turned into an exit, with what it carried."""
    error: BaseException | None = leaving
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _stopped(stop: KeyboardInterrupt) -> int:
    lines = ["Stopped."]
    if stop.args:
        lines.append(f"Go on where it stopped: expotion recipe run --resume {stop.args[0]}")
    _say(lines, "yellow")
    return 130


_RESUMED = ", `recipe run` with --resume"


def _failed(error: Exception) -> int:
    if isinstance(error, ExpotionError):
        _say([str(problem) for problem in error.problems], "red")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        _say([f"The disk is full{where}. Free some space and run the command again{_RESUMED}."], "red")
        return 1
    if isinstance(error, OSError) and error.filename is not None:
        _say([f"{error.filename}: {(error.strerror or str(error)).lower()}"], "red")
        return 1
    _say(
        [
            f"Unexpected {in_short(error)}",
            "This is a fault in expotion or a plugin; run the same command with --debug to see where.",
        ],
        "red",
    )
    return 1


def _say(lines: list[str], colour: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, soft_wrap=True)
    for line in lines:
        console.print(Text(line, style=colour))
