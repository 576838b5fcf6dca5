"""Questions for what the command line did not say."""

from __future__ import annotations

import sys

from expotion.errors import PluginError, Problem
from expotion.scaffold.write import KINDS, MEANING, Blueprint


def complete(name: str | None, kind: str | None, author: str, licence: str, description: str) -> Blueprint:
    """The blueprint; name and kind are asked for on a terminal, and an error elsewhere."""
    asks = sys.stdin.isatty() and (name is None or kind is None)
    if not asks:
        missing = [
            Problem(what, wanted)
            for what, wanted, given in (
                ("NAME", "a name for the plugin", name),
                ("--kind", f"one of {', '.join(KINDS)}", kind),
            )
            if given is None
        ]
        if missing:
            raise PluginError(missing)
        return Blueprint(name or "", kind or "", author, licence, description)
    import typer  # noqa: PLC0415 - only where there is somebody to ask

    name = name or typer.prompt("Name in recipes (lower case, for example gaze)")
    if kind is None:
        for choice in KINDS:
            typer.echo(f"  {choice:<10} {MEANING[choice]}")
        kind = typer.prompt("Kind", default="video")
    description = description or typer.prompt("Description in one line", default="", show_default=False)
    author = author or typer.prompt("Author", default="", show_default=False)
    return Blueprint(str(name), str(kind), author, licence, description)
