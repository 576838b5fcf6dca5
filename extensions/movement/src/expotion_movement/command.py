"""`expotion movement`: what moves in a clip, as MIDI and as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from expotion.contracts import Encoder, Overlay
    from expotion.features.movement import Movement
    from expotion.video.clip import FileClip

HELP = """Write what moves in a clip: beats, quantity of motion, the face's expressiveness.

MIDI: a tempo map and a note for each beat of the movement, the quantity of motion as
controller 1, expressiveness as controller 11. CSV: 25 rows a second. Without a beat
there are no notes, which is said.

\b
Example: expotion movement dance.mp4 --midi dance.mid --csv dance.csv
"""
ENCODERS = ("movement_beat", "person_face")
"""The encoders that know a person's beat and face."""
COLUMNS = ("time_s", "quantity_of_motion", "expressiveness", "beat_s", "tempo_bpm")

app = typer.Typer(rich_markup_mode=None)


@app.command(help=HELP)
def movement(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video.")],
    midi: Annotated[Path | None, typer.Option("--midi", metavar="FILE", help="E.g. dance.mid.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="E.g. dance.csv.")] = None,
) -> None:
    """Write the files; see HELP."""
    import contextlib

    from expotion.errors import ExpotionError, MediaError, Problem
    from expotion.features.movement import movement_of
    from expotion.files import write_text
    from expotion.music.targets import unwritable
    from expotion.video.clip import FileClip
    from expotion_movement.midi import write_midi

    outputs = {"--midi": (midi, (".mid", ".midi")), "--csv": (csv, (".csv",))}
    problems = [
        Problem(f"{option} {path}", f"a name that ends in {' or '.join(endings)}", path.suffix or "no suffix")
        for option, (path, endings) in outputs.items()
        if path is not None and path.suffix.lower() not in endings
    ]
    if midi is None and csv is None:
        problems.append(Problem("expotion movement", "--midi FILE, --csv FILE or both", "neither"))
    problems += unwritable({path.parent for path in (midi, csv) if path is not None})
    if problems:
        raise ExpotionError(problems)
    with contextlib.closing(FileClip(clip)) as opened:
        if opened.video is None:
            raise MediaError(Problem(str(clip), "a clip with a picture", "sound only"))
        notes: list[str] = []
        found = movement_of(opened, _seen(opened, notes))
    if midi is not None:
        n_beats = write_midi(midi, found)
        nothing = "no beat in the movement: no notes, 120 beats a minute throughout"
        notes.append(f"{n_beats} beats" if n_beats else nothing)
    if csv is not None:
        write_text(csv, table(found))
    if found.expression is None:
        notes.append("no face was measured: no expressiveness")
    for line in notes:
        typer.echo(line)
    for path in (midi, csv):
        if path is not None:
            typer.echo(f"Wrote {path}")


def _seen(clip: FileClip, notes: list[str]) -> list[Overlay]:
    """What the encoders saw; one that cannot is named in the notes."""
    from expotion import plugins
    from expotion.errors import FAULTS, ExpotionError, in_short
    from expotion.features.encoders import build_encoder

    seen = []
    for name in ENCODERS:
        try:
            encoder: Encoder = build_encoder(plugins.discover().encoder(name), {})
            seen.append(encoder.overlay(clip))
        except ExpotionError as error:
            notes.append(f"without {name}: {'; '.join(map(str, error.problems))}")
        except FAULTS as error:
            notes.append(f"without {name}: {in_short(error)}")
    return [overlay for overlay in seen if overlay is not None]


def table(found: Movement) -> str:
    """The movement as CSV: a row each 1/25 s; `beat_s` is the exact time of a beat of that row, empty in others."""
    import numpy as np

    width_s = found.times_s[1] - found.times_s[0] if len(found.times_s) > 1 else np.inf
    tempo_bpm = found.tempo_bpm()
    rows = [",".join(COLUMNS)]
    for row, time_s in enumerate(found.times_s):
        inside = found.beats_s[(found.beats_s >= time_s) & (found.beats_s < time_s + width_s)]
        expression = np.nan if found.expression is None else found.expression[row]
        numbers: tuple[tuple[float | NDArray[np.float64], int], ...] = (
            (time_s, 3),
            (found.quantity[row], 5),
            (expression, 5),
            (inside[0] if len(inside) else np.nan, 4),
            (tempo_bpm[row], 2),
        )
        rows.append(",".join("" if np.isnan(number) else f"{number:.{digits}f}" for number, digits in numbers))
    return "\n".join(rows) + "\n"
