"""`expotion generate`: music for clips from a trained adaptor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from expotion.errors import ExpotionError, Problem

HELP = """Make music for clips: a wav, and an mp4 with the new sound track, as long as the clip.

Without --adaptor it uses the small trained adaptor that ships with the tiny backbone.

\b
Example: expotion generate dance.mp4 --out dance_music.mp4
Example: expotion generate *.mp4 --adaptor runs/best --prompt "warm strings" --strength motion=0.5
"""


def generate(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIPS...", help="Video or audio files.")],
    *,
    adaptor: Annotated[
        Path | None,
        typer.Option("--adaptor", "-a", metavar="RUN_DIR", help="A run folder or an adaptor folder."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="What the music should be like.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The mp4 or wav to write; for several clips, a folder."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**63 - 1, help="Another seed, another piece.")
    ] = 0,
    cfg_scale: Annotated[
        float | None,
        typer.Option("--cfg-scale", min=0.0, help="Guidance; by default as the adaptor was measured."),
    ] = None,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            "--strength", metavar="NAME=VALUE", help="How strongly a condition steers; 0 leaves it out."
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Another backbone than the adaptor's; its sizes must fit."),
    ] = None,
) -> None:
    """Check the options, then generate; see HELP."""
    from rich.console import Console

    strengths = _strengths(strength or [])
    if cfg_scale is not None and not math.isfinite(cfg_scale):
        raise ExpotionError(Problem("--cfg-scale", "a number of at least 0", str(cfg_scale)))
    from expotion.pipeline.generate import generate_files
    from expotion.plugins import discover

    console = Console()
    written = generate_files(
        clips=clips,
        registry=discover(),
        adaptor=adaptor,
        prompt=prompt,
        out=out,
        seed=seed,
        cfg_scale=cfg_scale,
        strengths=strengths,
        backbone=backbone,
        console=console,
    )
    for path in written:
        console.print(f"Wrote {path}", soft_wrap=True, highlight=False, markup=False)


def _strengths(assignments: list[str]) -> dict[str, float]:
    strengths: dict[str, float] = {}
    problems: list[Problem] = []
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not name.strip() or not 0.0 <= value < float("inf"):
            wanted = "NAME=VALUE with a number of at least 0"
            problems.append(
                Problem(f"--strength {assignment}", wanted, None, "for example --strength motion=0.5")
            )
        strengths[name.strip()] = value
    if problems:
        raise ExpotionError(problems)
    return strengths
