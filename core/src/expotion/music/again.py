"""A piece made once more from its record, and held to the bytes of the first time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion.errors import ExpotionError
from expotion.music.files import Record, sha256_of
from expotion.music.jobs import Job, Opener, Progress, make_clip
from expotion.music.steering import SOUND_FORMATS, VIDEO_FORMATS
from expotion.music.targets import Target, plan
from expotion.progress import stage_progress

log = logging.getLogger("expotion")


def make_again(path: Path, *, out: Path | None, console: Console) -> list[Path]:
    """Make the files of a record again: beside it under a name with `_again`, or where `out` says.

    Says whether the bytes are the same, and if not, which packages have changed since. Raises ExpotionError for a
    record that cannot be read, and where the clip, a control or the adaptor is not what it was.
    """
    import torch  # noqa: PLC0415

    record = Record(path)
    target = Target(record.clip, path.with_name(f"{path.stem}_again"), record.composing.seed)
    if out is not None:
        suffix = out.suffix.lower().removeprefix(".")
        whole = suffix in (*SOUND_FORMATS, *VIDEO_FORMATS, "json")
        target = Target(record.clip, out.with_suffix("") if whole else out / path.stem, record.composing.seed)
    plan(  # checks the folder and that no clip is written over
        [record.clip],
        out=target.file(".mp4"),
        adaptor=None,
        formats=None,
        samples=1,
        seed=record.composing.seed,
    )
    assert record.composing.adaptor is not None
    threads = torch.get_num_threads()
    try:
        job = Job(record.composing, record.output, record.composing.adaptor, record.threads)
        maker = Opener(job)()

        @contextlib.contextmanager
        def watch(name: Path) -> Iterator[Progress]:
            with stage_progress(console, f"compose {name.name}") as progress:
                yield progress

        outcome = make_clip(maker, (target,), watch)
    finally:
        torch.set_num_threads(threads)
    for warning in outcome.warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}", soft_wrap=True, highlight=False)
    if outcome.fault is not None:
        log.debug("%s", outcome.fault)
    if outcome.problems:
        raise ExpotionError(list(outcome.problems))
    _compare(record, target, outcome.files, console)
    return list(outcome.files)


def _compare(record: Record, target: Target, files: tuple[Path, ...], console: Console) -> None:
    """Say whether each file has the bytes that the record tells of."""
    before = {Path(name).suffix: digest for name, digest in record.files.items()}
    others = [
        file.name for file in files if file != target.record and before.get(file.suffix) != sha256_of(file)
    ]
    if not others:
        console.print("The same bytes as the first time.", highlight=False)
        return
    changed = ", ".join(record.differing_versions()) or "no package that is recorded; perhaps the processor"
    text = f"other bytes than the first time: {', '.join(others)}. Changed since: {changed}"
    console.print(f"[yellow]warning[/] {escape(text)}", soft_wrap=True, highlight=False)
