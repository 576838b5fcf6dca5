"""`expotion generate`: music for clips and folders of clips, and once more from a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from expotion.cli.find import controls, numbers, split_pairs
from expotion.errors import ExpotionError, Problem

HELP = """Make music that follows clips: as long as each clip, as sound and as video.

Writes a wav, a video with the picture copied, and a JSON to make them again. A
folder is searched through; what is done already is left alone. Without
--adaptor it uses the small one that ships with the tiny backbone.

\b
Example: expotion generate dance.mp4 --out music.mp4
Example: expotion generate dance.mp4 --prompt "warm strings" --samples 3
Example: expotion generate clips/ --out scored/ --jobs 4
Example: expotion generate --again music.json
Example: expotion generate --live 0 --out session.wav
"""


def generate(
    clips: Annotated[
        list[Path] | None, typer.Argument(metavar="[CLIPS]...", help="Video or sound files, or folders.")
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="PATH", help="File to write, or a folder. E.g. music.mp4 or scored/."
        ),
    ] = None,
    adaptor: Annotated[
        Path | None,
        typer.Option("--adaptor", "-a", metavar="DIR", help="Run or adaptor folder. E.g. runs/best."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="Another backbone of the same size. E.g. tiny."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "-p", metavar="TEXT", help='What it is like. E.g. "warm strings".'),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", "-s", metavar="N", help="Another seed, another piece. E.g. 7.")
    ] = 0,
    samples: Annotated[
        int, typer.Option("--samples", "-n", metavar="N", help="Takes of each clip, numbered. E.g. 3.")
    ] = 1,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            "--strength",
            metavar="NAME=VALUE",
            help="How strongly a control steers, or a schedule by second. E.g. motion=0.5 or motion=0:1.0,5:0.2.",
        ),
    ] = None,
    guidance: Annotated[
        list[str] | None,
        typer.Option("--guidance", metavar="NAME=SCALE", help="A control's own guidance. E.g. motion=2."),
    ] = None,
    cfg_scale: Annotated[
        float | None, typer.Option("--cfg-scale", metavar="SCALE", help="The text's guidance. E.g. 3.")
    ] = None,
    mute: Annotated[
        list[str] | None, typer.Option("--mute", metavar="NAME", help="Leave a control out. E.g. face.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option("--control", metavar="NAME=CLIP", help="Take it from another clip. E.g. motion=b.mp4."),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option("--overlap", metavar="SECONDS", help="How much a window continues the last. E.g. 4."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", metavar="KIND", help="auto, fp32, bf16, fp16 or int8. E.g. int8."),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", help="Below 1 plays safer. E.g. 0.9.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="Choose among the K likeliest. E.g. 250.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", metavar="P", help="Choose within this probability. E.g. 0.9.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="LIST",
            help="wav, flac, mp3, opus, mp4, mov, mkv, webm. E.g. mp3,mkv.",
        ),
    ] = None,
    depth: Annotated[
        str, typer.Option("--depth", metavar="BITS", help="16, 24 or float, of wav and flac. E.g. 24.")
    ] = "16",
    loudness: Annotated[
        float | None,
        typer.Option(
            "--loudness", metavar="LUFS", help="Loudness (BS.1770), true peak at most -1 dBTP. E.g. -16."
        ),
    ] = None,
    keep_original_sound: Annotated[
        bool,
        typer.Option("--keep-original-sound", help="The clip's own sound as second track. E.g. with -f mp4."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", metavar="N", help="Processes of one thread; 0: none, all threads. E.g. 4."
        ),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="Over Ray. E.g. auto, local or host:6379.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Make what a folder's run has done anew. E.g. after an update."),
    ] = False,
    again: Annotated[
        Path | None, typer.Option("--again", metavar="JSON", help="Make a piece again. E.g. music.json.")
    ] = None,
    play_stream: Annotated[
        str | None,
        typer.Option(
            "--play-stream",
            metavar="[-]",
            help="Play one clip while it decodes, no files; with -, 16-bit samples to standard output.",
        ),
    ] = None,
    live: Annotated[
        str | None,
        typer.Option(
            "--live",
            metavar="SOURCE",
            help="Frames as they come: a camera's number, an address, or a file. E.g. 0.",
        ),
    ] = None,
    hop: Annotated[
        float | None, typer.Option("--hop", metavar="SECONDS", help="Live: made at a time. E.g. 1.")
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="SECONDS", help="Live: frames that steer. E.g. 5.")
    ] = None,
) -> None:
    """Check the options, then generate; see HELP."""
    problems: list[Problem] = []
    strengths = split_pairs("--strength", strength, "NAME=VALUE", "motion=0.5", problems)
    scales = numbers("--guidance", guidance, "NAME=SCALE", "motion=2", problems)
    chosen = controls(control, mute, problems)
    from expotion.music.steering import Composing, Output, Work

    composing = Composing(
        adaptor=adaptor,
        backbone=backbone,
        prompt=prompt,
        seed=seed,
        cfg_scale=cfg_scale,
        strengths=strengths,
        guidance=scales,
        controls=chosen,
        overlap_s=overlap,
        precision=precision,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    named = None if formats is None else _names(formats)
    output = Output(depth=depth, loudness_lufs=loudness, keep_original_sound=keep_original_sound)
    from rich.console import Console

    from expotion_live.asked import LiveAsked

    console = Console(stderr=play_stream == "-")
    given = Given(clips or [], out, named, samples, Work(jobs, ray, overwrite), again, play_stream)
    lively = None if live is None else LiveAsked(live, play_stream, out, hop, window)
    for path in dispatch(given, lively, (hop, window), composing, output, problems, console):
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False, markup=False)


def _names(formats: str) -> tuple[str, ...]:
    """Format names of a list separated by commas, each once."""
    return tuple(dict.fromkeys(name.strip().lower().lstrip(".") for name in formats.split(",")))


# Which of the ways of `expotion generate` is meant, and which options do not go with it.

if TYPE_CHECKING:
    from rich.console import Console

    from expotion.music.steering import Composing, Output, Work
    from expotion_live.asked import LiveAsked


@dataclass(frozen=True)
class Given:
    """Clips and where their music goes, as typed."""

    clips: Sequence[Path]
    out: Path | None
    formats: tuple[str, ...] | None
    samples: int
    work: Work
    again: Path | None
    play_stream: str | None


def dispatch(
    given: Given,
    live: LiveAsked | None,
    live_only: tuple[float | None, float | None],
    composing: Composing,
    output: Output,
    problems: list[Problem],
    console: Console,
) -> list[Path]:
    """Make what is asked for; returns the files written. Raises ExpotionError with every problem at once."""
    try:
        return _dispatch(given, live, live_only, composing, output, problems, console)
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        from expotion.music.out_of_memory import memory_problem

        short = memory_problem("expotion generate", error)
        if short is None:
            raise
        raise ExpotionError(short) from error


def _dispatch(
    given: Given,
    live: LiveAsked | None,
    live_only: tuple[float | None, float | None],
    composing: Composing,
    output: Output,
    problems: list[Problem],
    console: Console,
) -> list[Path]:
    from expotion import plugins

    _one_of(given, live, problems)
    files_only = _files_only(given, output)
    if live is not None:
        from expotion_live.run import play_live

        _refuse("--live", {**files_only, "--out": None}, problems)
        path = play_live(
            live, registry=plugins.discover(), composing=composing, console=console, problems=problems
        )
        return [] if path is None else [path]
    for option, value in zip(("--hop", "--window"), live_only, strict=True):
        if value is not None:
            problems.append(Problem(option, "--live beside it", "none", "for example --live 0"))
    if given.again is not None:
        from expotion.music.again import make_again
        from expotion.music.steering import Composing as Defaults

        _refuse("--again", {**files_only, "--out": None}, problems)
        if composing != Defaults() or given.play_stream is not None:
            fix = "leave out the other options; only --out goes with it"
            problems.append(Problem("--again", "the options of the record alone", "other options", fix))
        if problems:
            raise ExpotionError(problems)
        return make_again(given.again, out=given.out, console=console)
    if given.play_stream is not None:
        from expotion_live.play import play_stream

        _refuse("--play-stream", files_only, problems)
        play_stream(
            clips=given.clips,
            registry=plugins.discover(),
            composing=composing,
            where=given.play_stream,
            console=console,
            problems=problems,
        )
        return []
    from expotion.music.make import generate_files

    return generate_files(
        clips=given.clips,
        registry=plugins.discover(),
        composing=composing,
        output=output,
        formats=given.formats,
        out=given.out,
        samples=given.samples,
        work=given.work,
        console=console,
        problems=problems,
    )


def _one_of(given: Given, live: LiveAsked | None, problems: list[Problem]) -> None:
    """Exactly one of clips, --again and --live."""
    named = {"clips": bool(given.clips), "--again": given.again is not None, "--live": live is not None}
    if sum(named.values()) != 1:
        fix = "for example: expotion generate dance.mp4"
        got = " and ".join(name for name, there in named.items() if there) or "none of them"
        wanted = "either clips, --again JSON or --live SOURCE"
        raise ExpotionError([*problems, Problem("expotion generate", wanted, got, fix)])


def _files_only(given: Given, output: Output) -> dict[str, object]:
    """Options that speak about files of clips, and their values where they were given."""
    from expotion.music.steering import Output as Defaults

    return {
        "--out": given.out,
        "--format": given.formats,
        "--samples": None if given.samples == 1 else given.samples,
        "--jobs": given.work.jobs,
        "--ray": given.work.ray,
        "--overwrite": given.work.overwrite or None,
        "--depth, --loudness or --keep-original-sound": None if output == Defaults() else output,
    }


def _refuse(option: str, others: Mapping[str, object], problems: list[Problem]) -> None:
    """Options of files that another option has no use for."""
    fixes = {
        "--again": "the record holds it; only --out goes with it",
        "--live": "only --out goes with it, for a wav or flac file",
    }
    for name, value in others.items():
        if value is not None:
            fix = fixes.get(option, "it writes no files: the same seed gives the same piece without it")
            problems.append(Problem(option, f"not together with {name}", None, fix))
