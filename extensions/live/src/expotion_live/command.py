"""`expotion play` and `expotion live`: music that is heard while it is made."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expotion import streams
from expotion.cli.steer import Panels, steered

if TYPE_CHECKING:
    from rich.console import Console

    from expotion.errors import Problem
    from expotion.music.steering import Steering

PLAY_HELP = """Play a clip's music while it is decoded; nothing is written.

The piece is the one that `expotion generate` writes with the same seed.

\b
Example: expotion play dance.mp4
Example: expotion play dance.mp4 --to - | aplay -f S16_LE -r 32000
"""
LIVE_HELP = """Make music while frames come: from a camera, an address, or a file.

Goes on until they end, or Ctrl-C. To the speakers, unless --to or --out says
otherwise.

\b
Example: expotion live 0
Example: expotion live 0 --out session.wav
Example: expotion live 0 --osc 127.0.0.1:9000 --midi-port Expotion
"""

sound = functools.partial(typer.Option, rich_help_panel="Sound")
signals = functools.partial(typer.Option, rich_help_panel="Beats, tempo, quantity of motion, expressiveness")
TO = sound("--to", metavar="WHERE", help="speakers, or - for 16-bit samples on standard output. E.g. -.")


@steered
def play(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video or sound file.")],
    *,
    to: Annotated[str, TO] = "speakers",
    steering: Steering,
    problems: list[Problem],
) -> None:
    """Play it; see PLAY_HELP."""
    from expotion_live.play import play_clip

    with _console(to) as console:
        play_clip(clip, steering, to=to, console=console, problems=problems)


@steered
def live(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A camera's number, an address, or a file played in real time.")
    ],
    *,
    to: Annotated[str | None, TO] = None,
    out: Annotated[
        Path | None, sound("--out", "-o", metavar="FILE", help="A wav or flac file. E.g. session.wav.")
    ] = None,
    hop: Annotated[float, sound("--hop", metavar="SECONDS", help="Made at a time. E.g. 0.16.")] = 0.08,
    window: Annotated[
        float | None, sound("--window", metavar="SECONDS", help="How far back the model looks. E.g. 5.")
    ] = None,
    osc: Annotated[
        str | None, signals("--osc", metavar="HOST:PORT", help="As OSC messages. E.g. 127.0.0.1:9000.")
    ] = None,
    midi_port: Annotated[
        str | None, signals("--midi-port", metavar="NAME", help="To a MIDI port; a new one if none has this name.")
    ] = None,
    steering: Steering,
    problems: list[Problem],
) -> None:
    """Make music as frames come; see LIVE_HELP."""
    from expotion_live.live import Sounding, play_live

    with _console(to) as console:
        sounding = Sounding(to, out, hop, window, osc, midi_port)
        play_live(source, steering, sounding, console=console, problems=problems)
        if out is not None:
            console.print(f"Wrote {out}", markup=False)


@contextlib.contextmanager
def _console(to: str | None) -> Iterator[Console]:
    """Where words go, those of plugins too: not among the samples."""
    from rich.console import Console

    with streams.apart() if to == "-" else contextlib.nullcontext():
        yield Console(stderr=to == "-", soft_wrap=True, highlight=False)


play_app = typer.Typer(rich_markup_mode=None)
play_app.command(help=PLAY_HELP, cls=Panels)(play)
live_app = typer.Typer(rich_markup_mode=None)
live_app.command(help=LIVE_HELP, cls=Panels)(live)
