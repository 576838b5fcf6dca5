"""`expotion play`: music that is heard while it is decoded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion import plugins
from expotion.errors import ExpotionError, Problem
from expotion.music.composer import open_composer
from expotion.music.steering import Steering
from expotion.music.targets import scan_clips
from expotion.progress import stage_progress
from expotion_live.sink import ListenerGone, open_sink, sink_problems


def play_clip(
    clip: Path, steering: Steering, *, to: str, console: Console, problems: Sequence[Problem] = ()
) -> None:
    """Play one clip's music while it decodes; nothing is written.

    Raises ExpotionError with everything that is wrong before anything is loaded. A listener that leaves ends it.
    """
    _, bad = scan_clips([clip], (), steering)
    found = [*problems, *sink_problems(to), *bad.get(clip, ())]
    if steering.parts:
        fix = "leave them out, or write them with expotion generate"
        found.append(Problem("play", "all of a clip", "parts", fix))
    if found:
        raise ExpotionError(found)
    steering.say_adaptor(console)
    with stage_progress(console, "load models"):
        composer = open_composer(steering.folder, plugins.discover(), steering.backbone)
    warned: list[str] = []
    chunks = composer.stream(clip, steering, on_warning=warned.append)
    started = time.monotonic()
    made_s, waited_s, first_s = 0.0, 0.0, None
    try:
        backbone = composer.backbone
        with open_sink(to, backbone.sample_rate_hz, backbone.geometry.channels) as sink:
            asked = started
            for chunk in chunks:
                waited_s += time.monotonic() - asked
                if first_s is None:
                    first_s = time.monotonic() - started
                    for text in warned:
                        console.print(f"[yellow]warning[/] {escape(text)}")
                made_s = chunk.start_s + len(chunk.samples) / chunk.sample_rate_hz
                sink(chunk.samples)
                asked = time.monotonic()
    except ListenerGone:
        console.print(f"the listener left after {made_s:.1f} s")
        return
    decoding_s = max(1e-9, waited_s - (first_s or 0.0))
    console.print(
        f"{made_s:.1f} s of music; the first sound after {first_s or 0.0:.1f} s, "
        f"then decoded at {made_s / decoding_s:.1f} times real time"
    )
