"""Progress on a terminal, one line per stage; plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


def rough_time(seconds: float) -> str:
    """`40 s`, `12 min`, `5 h`, `9 days`."""
    for limit_s, unit_s, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def columns(*heads: str) -> Table:
    """A table without lines."""
    return Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))


Heard = Callable[[str, int, int], None]
"""Told of every stage: its title, how much is done, of how much; (0, 0) when it begins, (-1, 0) when it ends."""
_listeners: list[Heard] = []


@contextlib.contextmanager
def listening(heard: Heard) -> Iterator[None]:
    """Tell `heard` of all progress within the block, beside what is shown."""
    _listeners.append(heard)
    try:
        yield
    finally:
        _listeners.remove(heard)


def _tell(title: str, done: int, total: int) -> None:
    for heard in _listeners:
        heard(title, done, total)


class StageProgress:
    """What a stage calls: `update(done, total, note)`."""

    def __init__(self, console: Console, title: str, bar: Progress | None) -> None:
        self.console, self.title, self.bar = console, title, bar
        self._task = bar.add_task(title, total=None, note="") if bar is not None else None
        self._started = self._last = time.monotonic()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far the stage is."""
        _tell(self.title, done, total)
        if self.bar is not None and self._task is not None:
            self.bar.update(self._task, completed=done, total=max(1, total), note=note)
            return
        now = time.monotonic()
        if now - self._last >= 15.0 and done < total:
            self._last = now
            line = f"  {self.title}: {done}/{total} {escape(note)}".rstrip()
            self.console.print(line, highlight=False)

    __call__ = update


@contextlib.contextmanager
def stage_progress(console: Console | None, title: str) -> Iterator[StageProgress]:
    """A progress line that ends as 'title: seconds'; without a console nothing is shown."""
    console = console or Console(quiet=True)
    started = time.monotonic()
    title = escape(title)
    _tell(title, 0, 0)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            yield StageProgress(console, title, bar)
    else:
        yield StageProgress(console, title, None)
    _tell(title, -1, 0)
    console.print(f"[green]done[/] {title} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)
