"""`expotion adaptor ...`: publish a trained adaptor, fetch one, show its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Publish, fetch and describe trained adaptors.\n\n\b\nExample: expotion adaptor push runs/best hf:me/best",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Source = Annotated[str, typer.Argument(metavar="ADAPTOR", help="A run or adaptor folder, or hf:ORG/NAME.")]
Licence = Annotated[
    str | None, typer.Option("--licence", help="Your own licence for the adaptor, for example cc-by-4.0.")
]


@app.command()
def push(
    source: Source,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="hf:ORG/NAME or a folder.")],
    licence: Licence = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
) -> None:
    """Publish an adaptor with its card, recipe and measurements.

    \b
    Example: expotion adaptor push runs/best hf:me/conducted-marimba --licence cc-by-4.0
    Example: expotion adaptor push runs/best published/best
    """
    from expotion.plugins import discover
    from expotion_hub.publish import push_adaptor

    typer.echo(push_adaptor(source, target, discover(), licence=licence, private=private, say=typer.echo))


@app.command()
def pull(
    source: Source,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Copy it there; else the hub's cache.")
    ] = None,
) -> None:
    """Fetch an adaptor and check it. Everything that takes a run folder takes hf:ORG/NAME as well.

    \b
    Example: expotion adaptor pull hf:me/conducted-marimba --out adaptors/marimba
    """
    from expotion_hub.publish import pull_adaptor

    typer.echo(pull_adaptor(source, out))


@app.command()
def card(source: Source, licence: Licence = None) -> None:
    """Print an adaptor's model card: controls, data, training, measurements, licences.

    \b
    Example: expotion adaptor card runs/best > CARD.md
    """
    from expotion.adaptor.published import adaptor_folder
    from expotion.plugins import discover
    from expotion_hub.publish import card_of

    name = source if source.startswith("hf:") else None
    typer.echo(card_of(adaptor_folder(source), discover(), name=name, licence=licence), nl=False)
