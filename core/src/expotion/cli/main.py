"""`expotion`: the commands and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from expotion.cli import adaptor, features, generate, models, plugin, recipe
from expotion.errors import ExpotionError

# Commands that plugins add: entry points of the group `expotion.commands`, loaded when they are called.
#
# The entry point's name is the command's, its value a `typer.Typer`. A command of Expotion's own is never replaced.

GROUP = "expotion.commands"


class Commands(TyperGroup):
    """Expotion's own commands, then those of plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the help."""
        own = super().list_commands(ctx)
        return [*own, *sorted(name for name in _offered() if name not in own)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None. A plugin's is loaded here, and nowhere else."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = _offered().get(cmd_name)
        if point is None:
            return None
        package = getattr(point.dist, "name", point.value)
        if ctx.resilient_parsing:
            return None
        try:
            loaded = point.load()
        except Exception as error:  # a plugin may raise anything; its help line says so and the rest works
            return _broken(cmd_name, f"{package} is broken: {type(error).__name__}: {error}")
        if not isinstance(loaded, typer.Typer):
            return _broken(cmd_name, f"{package}: {point.value} is no typer.Typer")
        return typer.main.get_command(loaded)


def _offered() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def _broken(name: str, cause: str) -> Any:
    """A command that says what is wrong with it."""
    from expotion.errors import PluginError, Problem

    app = typer.Typer(rich_markup_mode=None)

    @app.command(name, help=cause, context_settings={"ignore_unknown_options": True})
    def fail(words: list[str] | None = typer.Argument(None, hidden=True)) -> None:
        raise PluginError(Problem(f"command {name!r}", "a plugin that can be loaded", cause))

    return typer.main.get_command(app)


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
app.add_typer(models.app, name="models")
app.add_typer(adaptor.app, name="adaptor")
app.add_typer(features.app, name="features")
app.command("generate", help=generate.HELP)(generate.generate)


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
    raise SystemExit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code. With --debug, anywhere, errors raise instead."""
    debug = "--debug" in arguments
    # Our own progress lines say what is loaded; the library's belong to a debugging session.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "info" if debug else "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "0" if debug else "1")
    given = _spell_out([argument for argument in arguments if argument != "--debug"])
    try:
        app(given, prog_name="expotion")
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
    """A bare `--resume` means `--resume auto`, a bare `--play-stream` the speakers: both take a value."""
    spelt = []
    for index, argument in enumerate(arguments):
        following = arguments[index + 1] if index + 1 < len(arguments) else ""
        stands_alone = not following or following.startswith("-") or following.endswith((".yaml", ".yml"))
        if argument == "--resume" and stands_alone:
            spelt.append("--resume=auto")
        elif argument == "--play-stream" and following != "-":
            spelt.append("--play-stream=speakers")
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


def _failed(error: Exception) -> int:
    if isinstance(error, ExpotionError):
        _say([str(problem) for problem in error.problems], "red")
        return error.exit_code
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        _say([f"The disk is full{where}. Free some space and run the command again with --resume."], "red")
        return 1
    if isinstance(error, OSError) and error.filename is not None:
        _say([f"{error.filename}: {(error.strerror or str(error)).lower()}"], "red")
        return 1
    text = str(error).strip().splitlines()
    _say(
        [
            f"Unexpected {type(error).__name__}: {text[0] if text else 'no message'}",
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
