"""What `expotion features` prints: progress with rate and ETA, failures, and the table of entries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from expotion.features.catalogue import Entry
from expotion.features.encoders import EncodersFactory
from expotion.features.job import ClipFile, ClipReport, extract
from expotion.files import write_json
from expotion.progress import columns, rough_time

LINE_EVERY_S = 15.0


def run_and_tell(
    files: Sequence[ClipFile],
    factory: EncodersFactory,
    folder: Path,
    *,
    workers: int,
    ray: str | None,
    out: Path | None,
) -> bool:
    """Extract, show how far it is, write the report; returns whether clips failed."""
    console = Console(highlight=False, soft_wrap=True)
    began = last = time.monotonic()
    reports: list[ClipReport] = []
    parts = (
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    results = extract(files, factory, folder, workers=workers, ray=ray)
    try:
        with (
            contextlib.closing(results),  # type: ignore[type-var]  # a generator
            Progress(*parts, console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            task = bar.add_task("", total=len(files), rate="", note="")
            for report in results:
                reports.append(report)
                now = time.monotonic()
                rate = f"{len(reports) / max(now - began, 1e-9):.2f} clips/s"
                bar.update(task, completed=len(reports), rate=rate, note=report.clip)
                if not console.is_terminal and now - last >= LINE_EVERY_S and len(reports) < len(files):
                    last = now
                    left_s = (now - began) / len(reports) * (len(files) - len(reports))
                    console.print(f"{len(reports)}/{len(files)}, {rate}, about {left_s:.0f} s left", markup=False)
    except KeyboardInterrupt:
        _write(out, reports, files, began, stopped=True)
        console.print(f"Stopped after {len(reports)} of {len(files)} clips; what was finished is in {folder}.")
        console.print("The same command goes on where it stopped.")
        raise typer.Exit(130) from None
    _summary(console, reports, folder, time.monotonic() - began)
    _write(out, reports, files, began, stopped=False)
    return any(report.failed for report in reports)


def _summary(console: Console, reports: Sequence[ClipReport], folder: Path, took_s: float) -> None:
    kept = sum(report.kept for report in reports)
    failed = [report for report in reports if report.failed]
    console.print(
        f"{len(reports)} clips in {took_s:.1f} s: {len(reports) - kept - len(failed)} extracted, "
        f"{kept} skipped (in the store already), {len(failed)} failed",
        markup=False,
    )
    console.print(f"Store: {folder}", markup=False)
    for report in reports:
        for name, outcome in report.outcomes.items():
            if outcome.coverage is not None and outcome.coverage < 0.9:
                console.print(f"{report.clip}: {name} covers {outcome.coverage:.0%} of its rows", markup=False)
        for warning in dict.fromkeys(report.warnings):
            console.print(f"warning: {warning}", markup=False)
    if failed:
        table = columns("clip", "encoder", "why it failed")
        for report in failed:
            for name, outcome in report.outcomes.items():
                if outcome.error is not None:
                    table.add_row(report.clip, name, outcome.error)
        wide = Console(highlight=False, markup=False, width=None if console.is_terminal else 240)
        wide.print(table, markup=False)


def _write(
    out: Path | None, reports: Sequence[ClipReport], files: Sequence[ClipFile], began: float, *, stopped: bool
) -> None:
    if out is None:
        return
    done = {report.clip for report in reports}
    plain: dict[str, Any] = {
        "stopped": stopped,
        "seconds": round(time.monotonic() - began, 3),
        "clips": [asdict(report) | {"failed": report.failed} for report in reports],
        "not_reached": [file.path for file in files if file.id not in done],
    }
    write_json(out, plain)


def print_entries(entries: Sequence[Entry], folder: Path) -> None:
    """The table of `list`, and the total."""
    table = columns("clip", "encoder", "options", "rows", "width", "rate", "size", "age", "code")
    now = time.time()
    for entry in entries:
        rate = f"{entry.rate_hz:g} Hz" if entry.rate_hz else ""
        code = entry.notes.get("distribution") or entry.notes.get("source", "")
        rows, width = (*entry.shape, 0, 0)[:2]
        table.add_row(
            entry.clip,
            entry.encoder,
            entry.options_digest,
            str(rows),
            str(width),
            rate,
            size(entry.n_bytes),
            rough_time(now - entry.modified_s),
            code,
        )
    console = Console(highlight=False, width=None if Console().is_terminal else 200)
    if entries:
        console.print(table)
    total = size(sum(entry.n_bytes for entry in entries))
    console.print(f"{len(entries)} entries, {total}, in {folder}", soft_wrap=True, markup=False)


def size(n_bytes: int) -> str:
    """`812 B`, `3.4 kB`, `12.0 MB`."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    return f"{n_bytes / 1e3:.1f} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:.1f} MB"
