"""`expotion generate --play-stream`: music that is heard while it is decoded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError, Problem
from expotion.pipeline.composer_load import open_composer
from expotion.pipeline.listening import ListenerGone, open_sink, sink_problems
from expotion.pipeline.music_checks import (
    clip_problems,
    control_problems,
    find_adaptor,
    name_problems,
    read_facts,
    schedule_problems,
)
from expotion.pipeline.music_options import Composing
from expotion.pipeline.progress import stage_progress
from expotion.plugins import Registry


def play_stream(
    *,
    clips: Sequence[Path],
    registry: Registry,
    composing: Composing,
    where: str,
    console: Console,
    problems: Sequence[Problem] = (),
) -> None:
    """Play one clip's music while it decodes; nothing is written.

    Raises ExpotionError with everything that is wrong before anything is loaded. A listener that leaves ends it.
    """
    found = [*problems, *composing.problems(), *schedule_problems(composing), *sink_problems(where)]
    if len(clips) != 1 or clips[0].is_dir():
        got = "a folder" if len(clips) == 1 else f"{len(clips)} clips"
        found.append(Problem("--play-stream", "one clip", got))
    try:
        adaptor = find_adaptor(composing.adaptor, registry, composing.backbone)
        found += name_problems(composing, read_facts(adaptor))
    except ExpotionError as error:
        found += error.problems
    found += control_problems(composing)
    found += [p for each in clip_problems([c for c in clips if not c.is_dir()], ()).values() for p in each]
    if found:
        raise ExpotionError(found)
    with stage_progress(console, "load models"):
        composer = open_composer(adaptor, registry, composing.backbone)
    warned: list[str] = []
    chunks = composer.stream(clips[0], **composing.keywords(), seed=composing.seed, on_warning=warned.append)
    started = time.monotonic()
    made_s, waited_s, first_s = 0.0, 0.0, None
    try:
        with open_sink(where, composer.backbone.sample_rate_hz) as sink:
            asked = started
            for chunk in chunks:
                waited_s += time.monotonic() - asked
                if first_s is None:
                    first_s = time.monotonic() - started
                    for text in warned:
                        console.print(f"[yellow]warning[/] {escape(text)}", soft_wrap=True, highlight=False)
                made_s = chunk.start_s + len(chunk.samples) / chunk.sample_rate_hz
                sink(chunk.samples)
                asked = time.monotonic()
    except ListenerGone:
        console.print(f"the listener left after {made_s:.1f} s", highlight=False)
        return
    decoding_s = max(1e-9, waited_s - (first_s or 0.0))
    console.print(
        f"{made_s:.1f} s of music; the first sound after {first_s or 0.0:.1f} s, "
        f"then decoded at {made_s / decoding_s:.1f} times real time",
        highlight=False,
    )
