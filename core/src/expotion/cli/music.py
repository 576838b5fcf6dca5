"""Which of the ways of `expotion generate` is meant, and which options do not go with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from expotion.errors import ExpotionError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from expotion.pipeline.live_asked import LiveAsked
    from expotion.pipeline.music_options import Composing, Output, Work


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
        from expotion.pipeline.out_of_memory import memory_problem

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
        from expotion.pipeline.music_live import play_live

        _refuse("--live", {**files_only, "--out": None}, problems)
        path = play_live(
            live, registry=plugins.discover(), composing=composing, console=console, problems=problems
        )
        return [] if path is None else [path]
    for option, value in zip(("--hop", "--window"), live_only, strict=True):
        if value is not None:
            problems.append(Problem(option, "--live beside it", "none", "for example --live 0"))
    if given.again is not None:
        from expotion.pipeline.music_again import make_again
        from expotion.pipeline.music_options import Composing as Defaults

        _refuse("--again", {**files_only, "--out": None}, problems)
        if composing != Defaults() or given.play_stream is not None:
            fix = "leave out the other options; only --out goes with it"
            problems.append(Problem("--again", "the options of the record alone", "other options", fix))
        if problems:
            raise ExpotionError(problems)
        return make_again(given.again, out=given.out, console=console)
    if given.play_stream is not None:
        from expotion.pipeline.music_stream import play_stream

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
    from expotion.pipeline.generate import generate_files

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
    from expotion.pipeline.music_options import Output as Defaults

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
