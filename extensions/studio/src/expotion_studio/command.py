"""`expotion studio`: serve the studio until Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None)

HELP = """Music from your own movement, in one page of the browser.

Compose for a clip, record yourself moving to pieces, train on your gestures,
play live. What you give and make stays in --folder on this machine.

\b
Example: expotion studio
Example: expotion studio --port 8800 --no-browser
"""


@app.command(help=HELP)
def studio(
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept. E.g. studio.")] = Path(
        "studio"
    ),
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="N", help="0 takes any that is free. E.g. 8800.")
    ] = 8766,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Another one needs a token, and is https. E.g. 0.0.0.0.")
    ] = "127.0.0.1",
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="What this machine is called elsewhere. E.g. studio.local."),
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A certificate with its key, PEM. By default one is made.")
    ] = None,
    adaptor: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="An adaptor to offer beside the shipped one.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
) -> None:
    """Serve it; see HELP."""
    from rich.console import Console

    from expotion_studio.serve import serve

    console = Console(soft_wrap=True, highlight=False)
    serve(folder, host, port, name or [], cert, adaptor or [], browser=browser, console=console)
