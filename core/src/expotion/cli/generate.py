"""`expotion generate`: music for clips and folders of clips; `expotion again`: once more from a record."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from expotion.cli.steer import Panels, steered

if TYPE_CHECKING:
    from rich.console import Console

    from expotion.errors import Problem
    from expotion.music.steering import Steering

HELP = """Make music that follows clips: as long as each clip, as sound and as video.

Writes a wav, a video with the picture copied, and a JSON to make them again. A
folder is searched through; what is done already is left alone. Without
--adaptor it uses one that ships: person (a body's landmarks) where its
models were pulled, else pixels, which needs nothing.

\b
Example: expotion generate dance.mp4 --out music.mp4
Example: expotion generate dance.mp4 --prompt "calm strings" --samples 3
Example: expotion generate clips/ --out scored/ --jobs 4
"""
files = functools.partial(typer.Option, rich_help_panel="Files")
work = functools.partial(typer.Option, rich_help_panel="Work")


@steered
def generate(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIPS", help="Video or sound files, or folders.")],
    *,
    out: Annotated[
        Path | None,
        files("--out", "-o", metavar="PATH", help="File to write, or a folder. E.g. music.mp4 or scored/."),
    ] = None,
    samples: Annotated[
        int, files("--samples", "-n", metavar="N", help="Takes of each clip, numbered. E.g. 3.")
    ] = 1,
    prompt_from: Annotated[
        str | None,
        files(
            "--prompt-from", metavar="WORDS", help="A captioner's words of the clip or a SOUND. E.g. scene:b.wav."
        ),
    ] = None,
    best: Annotated[
        str | None,
        files("--best", metavar="METRIC", help="Choose among the takes by a metric. E.g. beat_alignment."),
    ] = None,
    keep: Annotated[
        int | None, files("--keep", metavar="K", help="Beside the best, that many takes more. E.g. 2.")
    ] = None,
    part: Annotated[
        list[str] | None,
        files("--part", metavar="START-END", help="Music for this stretch alone, in seconds. E.g. 10-20."),
    ] = None,
    start: Annotated[
        float | None, files("--start", metavar="SECONDS", help="One part: where it begins. E.g. 10.")
    ] = None,
    duration: Annotated[
        float | None, files("--duration", metavar="SECONDS", help="One part: how long it is. E.g. 10.")
    ] = None,
    outside: Annotated[
        str | None,
        files("--outside", metavar="WHAT", help="own (its sound) or silence around parts. E.g. silence."),
    ] = None,
    formats: Annotated[
        str,
        files(
            "--format",
            "-f",
            metavar="LIST",
            help="wav, flac, mp3, opus, mp4, mov, mkv, webm, overlay. E.g. mp3,mkv.",
        ),
    ] = "",
    depth: Annotated[
        str, files("--depth", metavar="BITS", help="16, 24 or float, of wav and flac. E.g. 24.")
    ] = "16",
    loudness: Annotated[
        float | None,
        files("--loudness", metavar="LUFS", help="Loudness (BS.1770), true peak at most -1 dBTP. E.g. -16."),
    ] = None,
    keep_original_sound: Annotated[
        bool, files("--keep-original-sound", help="The clip's own sound as second track. E.g. with -f mp4.")
    ] = False,
    jobs: Annotated[
        int | None, work("--jobs", "-j", metavar="N", help="Processes of one thread; 0: none, all threads. E.g. 4.")
    ] = None,
    ray: Annotated[
        str | None, work("--ray", metavar="ADDRESS", help="Over Ray. E.g. auto, local or host:6379.")
    ] = None,
    overwrite: Annotated[
        bool, work("--overwrite", help="Make what a folder's run has done anew. E.g. after an update.")
    ] = False,
    steering: Steering,
    problems: list[Problem],
) -> None:
    """Make the files; see HELP."""
    del part, start, duration, outside  # in `steering`
    from rich.console import Console

    from expotion.errors import Problem
    from expotion.music.best import Best
    from expotion.music.make import generate_files
    from expotion.music.prompts import PromptFrom
    from expotion.music.targets import Output

    named = [name.strip().lower().lstrip(".") for name in formats.split(",")] if formats else []
    if keep is not None and best is None:
        problems.append(Problem("--keep", "a metric to choose by, such as --best beat_alignment", "none"))
    console = Console()
    written = generate_files(
        clips=clips,
        steering=steering,
        output=Output(tuple(dict.fromkeys(named)), depth, loudness, keep_original_sound),
        out=out,
        samples=samples,
        best=None if best is None else Best(best, samples, keep or 0),
        prompt_from=None if prompt_from is None else PromptFrom.of(prompt_from),
        jobs=jobs,
        ray=ray,
        overwrite=overwrite,
        console=console,
        problems=problems,
    )
    _say(written, console)


MOVED = {
    "--again": "expotion again RECORD.json",
    "--overlay": "--format wav,mp4,overlay draws what steers the music over the picture",
    "--play-stream": "expotion play CLIP",
    "--live": "expotion live SOURCE",
    "--hop": "expotion live SOURCE --hop SECONDS",
    "--window": "expotion live SOURCE --window SECONDS",
}
"""Options of before that are commands now, and one that is a format."""


class Generate(Panels):
    """`expotion generate`, with a word for options that have become commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Raises a usage error for an option that has moved."""
        for option in (arg.partition("=")[0] for arg in args):
            if option in MOVED:
                ctx.fail(f"{option} has moved: {MOVED[option]}")
        return super().parse_args(ctx, args)


AGAIN_HELP = """Make a piece again from its JSON, and say whether the bytes are the same.

Writes beside the record, under its name with _again, unless --out says where.

\b
Example: expotion again music.json
Example: expotion again music.json --take 3
"""


def again(
    record: Annotated[Path, typer.Argument(metavar="JSON", help="The JSON that was written beside a piece.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PATH", help="File to write, or a folder. E.g. music.mp4.")
    ] = None,
    take: Annotated[
        int | None, typer.Option("--take", metavar="N", help="Another of the takes that --best chose from. E.g. 3.")
    ] = None,
) -> None:
    """Make it again; see AGAIN_HELP."""
    from rich.console import Console

    from expotion.music.make import make_again

    console = Console()
    _say(make_again(record, out=out, take=take, console=console), console)


def _say(files: list[Path], console: Console) -> None:
    for path in files:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False, markup=False)
