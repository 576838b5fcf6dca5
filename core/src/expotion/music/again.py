"""`expotion again`: a piece made once more from its record, and held to the bytes of the first time."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from expotion.files import sha256_of
from expotion.music.files import Record, read_record
from expotion.music.jobs import Job
from expotion.music.make import Report
from expotion.music.targets import SOUND_FORMATS, VIDEO_FORMATS, Takes, Target, plan


def make_again(path: Path, *, out: Path | None, console: Console) -> list[Path]:
    """Make the files of a record again: beside it under a name with `_again`, or where `out` says.

    Says whether the bytes are the same, and if not, which packages have changed since. Raises ExpotionError for a
    record that cannot be read, and where the clip, a control or the adaptor is not what it was.
    """
    import torch  # noqa: PLC0415

    record = read_record(path)
    base = path.with_name(f"{path.stem}_again")
    if out is not None:
        suffix = out.suffix.lower().removeprefix(".")
        whole = suffix in (*SOUND_FORMATS, *VIDEO_FORMATS, "json")
        base = out.with_suffix("") if whole else out / path.stem
    target = Target(record.clip, base, record.steering.seed)
    # Checks the folder, and that no clip is written over.
    plan([record.clip], out=target.file(".mp4"), adaptor=None, formats=(), samples=1, seed=target.seed)
    job = Job(record.steering, record.output, record.threads)
    report = Report(1, console, None)
    threads = torch.get_num_threads()
    try:
        report.add(job.make(job.open(), Takes((target,)), console))
    finally:
        torch.set_num_threads(threads)
    files = report.close(stopped=False)
    _compare(record, target, files, console)
    return files


def _compare(record: Record, target: Target, files: list[Path], console: Console) -> None:
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
