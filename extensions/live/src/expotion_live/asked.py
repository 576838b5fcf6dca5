"""What a user asks of `expotion generate --live`, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LiveAsked:
    """Where frames come from and where music goes: `play` as in `--play-stream` or None, `out` a file or None."""

    where: str
    play: str | None = None
    out: Path | None = None
    hop_s: float | None = None
    window_s: float | None = None
