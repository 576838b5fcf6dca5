"""`expotion study ...`: build a listening test, serve it, and read its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="A blind listening test of runs and other music for the same clips.\n\n\b\n"
    "Example: expotion study build runs/best runs/best:text_only --out study",
    no_args_is_help=True,
    rich_markup_mode=None,
)

StudyArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `study build` has made.")]


@app.command()
def build(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="[NAME=]PATH[:CONDITION]: a run, a folder with runs in cells/, or sounds named by clip.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The study's folder; new or empty.")],
    *,
    videos: Annotated[Path | None, typer.Option(metavar="DIR", help="Videos named by clip. E.g. clips/.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Descriptions by clip, CSV or JSON. E.g. prompts.csv.")
    ] = None,
    clips: Annotated[
        str | None, typer.Option(metavar="LIST", help="Only these clips. E.g. clip_01,clip_07.")
    ] = None,
    common: Annotated[bool, typer.Option("--common", help="Only clips that every system has music for.")] = False,
    ratings: Annotated[
        int | None, typer.Option(metavar="N", help="Clips that each participant rates. E.g. 12.")
    ] = None,
    comparisons: Annotated[
        int | None, typer.Option(metavar="N", help="Pairs that each compares. E.g. 10, or 0.")
    ] = None,
    attention: Annotated[int, typer.Option(metavar="N", help="Attention checks among the ratings. E.g. 1.")] = 0,
    loudness: Annotated[
        float, typer.Option(metavar="LUFS", help="Loudness of all sounds (BS.1770). E.g. -23.")
    ] = -23.0,
    title: Annotated[
        str, typer.Option(metavar="TEXT", help='Shown on every page. E.g. "Music for dance".')
    ] = "Music for videos",
    intro: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own text for the first page. E.g. intro.txt.")
    ] = None,
    contact: Annotated[str, typer.Option(metavar="TEXT", help='Who answers questions. E.g. "a@b.org".')] = "",
) -> None:
    """Make a blind test: media at one loudness under opaque names, and a balanced plan of who hears what.

    \b
    Example: expotion study build runs/best runs/best:text_only --out study
    Example: expotion study build runs/table1 vidmuse=other/vidmuse --out study
    Example: expotion study build ours=a/ theirs=b/ --videos clips/ --prompts prompts.csv --out study
    """
    from rich.markup import escape

    from expotion.errors import ExpotionError, Problem
    from expotion.plugins import discover
    from expotion.progress import StageProgress, stage_progress
    from expotion_study.build import Asked, build_study
    from expotion_study.sources import open_sources, read_prompts

    console = _console()
    try:
        text = intro.read_text(encoding="utf-8") if intro is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ExpotionError(Problem(f"--intro {intro}", "a text file", str(error))) from None
    words = read_prompts(prompts) if prompts is not None else {}
    only = tuple(name.strip() for name in (clips or "").split(",") if name.strip())
    asked = Asked(title, text, contact, ratings, comparisons, attention, loudness, only, common)
    notes: list[str] = []
    sources = open_sources(runs, discover(), videos=videos, prompts=words)
    with stage_progress(console, "study") as shown:

        def update(what: str, done: int, total: int) -> None:
            StageProgress.update(shown, done, total, what)

        study = build_study(sources, out, asked, note=notes.append, progress=update)
    for line in dict.fromkeys(notes):
        console.print(f"[yellow]note[/] {escape(line)}")
    console.print(
        f"{len(study.systems)} systems, {len(study.clips)} clips; each participant: {study.ratings} ratings and "
        f"{study.comparisons} comparisons, about {study.minutes} min"
    )
    console.print(f"Next: expotion study serve {out}", markup=False)


@app.command()
def serve(
    folder: StudyArgument,
    port: Annotated[
        int, typer.Option("--port", "-p", metavar="N", help="0 takes any that is free. E.g. 8765.")
    ] = 8765,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="0.0.0.0 lets other machines in.")] = "127.0.0.1",
) -> None:
    """Serve a study as a web page until Ctrl-C. Answers go to answers.sqlite in its folder.

    \b
    Example: expotion study serve study --port 8765
    """
    from expotion_study.server import StudyServer

    console = _console()
    with StudyServer(folder, host, port) as server:
        console.print(f"{server.study.title}: {server.address}", markup=False)
        if host not in ("127.0.0.1", "localhost", "::1"):
            console.print("Reachable from other machines, without encryption: put it behind a TLS proxy.")
        console.print("Ctrl-C ends it; answers are stored as they come.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            people = server.answers.everybody()
            console.print(f"\n{len(people)} participants, {sum(each.finished for each in people)} finished.")
            console.print(f"Next: expotion study results {folder}", markup=False)


@app.command()
def results(
    folder: StudyArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where to write; by default DIR itself.")
    ] = None,
) -> None:
    """Means and preferences with intervals, as JSON, CSV, Markdown and a figure. Can be run while it is served.

    \b
    Example: expotion study results study
    """
    from expotion_study.results import write_results

    console = _console()
    markdown, paths = write_results(folder, out)
    console.print(markdown.rpartition("\n!")[0], markup=False)
    for path in paths:
        console.print(f"Wrote {path}", markup=False)


@app.command()
def forget(
    folder: StudyArgument, code: Annotated[str, typer.Argument(metavar="CODE", help="A participant's code.")]
) -> None:
    """Delete a participant's answers, as they may ask for.

    \b
    Example: expotion study forget study ABCD-EFGH-JKMN
    """
    from expotion.errors import ExpotionError, Problem
    from expotion_study.model import ANSWERS_FILE, Study
    from expotion_study.store import Answers

    answers = Answers(folder / ANSWERS_FILE, Study.load(folder).id, create=False)
    if not answers.forget(code):
        raise ExpotionError(Problem(f"code {code}", "a participant of this study", "none with it"))
    typer.echo("Deleted.")


def _console() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)
