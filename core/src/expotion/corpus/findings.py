"""What a user should look at in a clip, in words, from the numbers of its row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expotion.corpus.examine import STILL
from expotion.corpus.schema import Row, read_header

QUIET_LUFS = -40.0
LOUD_LUFS = -8.0
SILENT = 0.2
CLIPPED = 0.001
FEW_FPS = 12.0
NARROW_HZ = 32_000


@dataclass(frozen=True)
class Finding:
    """A problem: its kind, the same words for every clip, and what is so in this one."""

    kind: str
    text: str


def findings(rows: Sequence[Row], manifest: Path) -> list[list[Finding]]:
    """For each row its problems, the gravest first; an empty list for a clip without any."""
    settings: dict[str, Any] = read_header(manifest).get("settings", {})
    clip_s = settings.get("clip_s")
    files: dict[str, set[str]] = {}
    for row in rows:
        if row.sound:
            files.setdefault(row.sound, set()).add(row.file_sha256)
    same = Counter({sound: len(hashes) for sound, hashes in files.items()})
    return [_of(row, clip_s, same[row.sound] if row.sound else 1) for row in rows]


def _of(row: Row, clip_s: float | None, n_same: int) -> list[Finding]:
    out: list[Finding] = []
    loudness, silent, clipped = row.loudness_lufs, row.silent_fraction, row.clipped_fraction
    if row.picture_change is not None and row.picture_change < STILL:
        out.append(Finding("the picture stands still", "the picture stands still"))
    if silent is not None and silent > SILENT:
        out.append(Finding("silence", f"{silent:.0%} silent"))
    if clipped is not None and clipped > CLIPPED:
        out.append(Finding("clipped sound", f"{clipped:.1%} of the samples are clipped"))
    if loudness is not None and loudness < QUIET_LUFS:
        out.append(Finding("quiet", f"quiet: {loudness:.0f} LUFS"))
    if loudness is not None and loudness > LOUD_LUFS:
        out.append(Finding("loud", f"loud: {loudness:.0f} LUFS"))
    if row.sample_rate_hz is not None and row.sample_rate_hz < NARROW_HZ:
        out.append(
            Finding(
                "narrow sound",
                f"sound at {row.sample_rate_hz / 1000:g} kHz: nothing above {row.sample_rate_hz / 2000:g} kHz",
            )
        )
    if row.fps is not None and row.fps < FEW_FPS:
        out.append(Finding("few frames", f"{row.fps:g} frames per second"))
    if clip_s is not None and row.duration_s < clip_s - 0.1:
        out.append(
            Finding("shorter than a clip", f"short: {row.duration_s:.1f} of {clip_s:g} s, the rest is masked")
        )
    if n_same > 1:
        out.append(Finding("sound of another file", f"{n_same} files have this sound"))
    if row.caption is None:
        out.append(Finding("no caption", "no caption"))
    return out
