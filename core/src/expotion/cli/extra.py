"""Commands that plugins add: entry points of the group `expotion.commands`, loaded when they are called.

The entry point's name is the command's, its value a `typer.Typer`. A command of Expotion's own is never replaced.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import typer
from typer.core import TyperGroup

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
