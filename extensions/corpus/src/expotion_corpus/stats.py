"""Numbers about a manifest: lengths, loudness, tempo, captions, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expotion.errors import ExpotionError, Problem
from expotion.files import file_sha256
from expotion.manifest.rows import Row, read_header, read_manifest
from expotion.manifest.source import differences
from expotion.video.scan import scan
from expotion_corpus.examine import STILL

MEASURED = ("loudness_lufs", "silent_fraction", "clipped_fraction", "picture_change")


def summary(values: Sequence[float | None], *, total: bool = False) -> dict[str, float] | None:
    """Count, least, median, mean, most and, if asked, sum of the values that are known; None without any."""
    known = np.asarray([v for v in values if v is not None], dtype=np.float64)
    if not len(known):
        return None
    numbers = {"least": known.min(), "median": np.median(known), "mean": known.mean(), "most": known.max()}
    if total:
        numbers["sum"] = known.sum()
    return {"count": len(known)} | {name: round(float(value), 4) for name, value in numbers.items()}


def stats(rows: Sequence[Row], tempo_bpm: Callable[[Row], float | None] | None = None) -> dict[str, Any]:
    """Summaries of the rows; tempo where a function that estimates it is given."""
    out: dict[str, Any] = {
        "clips": len(rows),
        "files": len({row.file_sha256 for row in rows}),
        "splits": dict(Counter(row.split or "none" for row in rows)),
        "duration_s": summary([row.duration_s for row in rows], total=True),
        **{name: summary([getattr(row, name) for row in rows]) for name in MEASURED},
        "caption_words": summary([None if row.caption is None else len(row.caption.split()) for row in rows]),
        "fps": dict(Counter(str(row.fps) for row in rows)),
        "size": dict(Counter(f"{row.width}x{row.height}" for row in rows)),
        "known": {
            key: sum(getattr(row, key) is not None for row in rows) for key in ("song", "performer", "recording")
        },
    }
    if tempo_bpm is not None:
        out["tempo_bpm"] = summary([tempo_bpm(row) for row in rows])
    return out


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

    def add(kind: str, text: str) -> None:
        out.append(Finding(kind, text))

    loudness, silent, clipped = row.loudness_lufs, row.silent_fraction, row.clipped_fraction
    if row.picture_change is not None and row.picture_change < STILL:
        add("the picture stands still", "the picture stands still")
    if silent is not None and silent > SILENT:
        add("silence", f"{silent:.0%} silent")
    if clipped is not None and clipped > CLIPPED:
        add("clipped sound", f"{clipped:.1%} of the samples are clipped")
    if loudness is not None and loudness < QUIET_LUFS:
        add("quiet", f"quiet: {loudness:.0f} LUFS")
    if loudness is not None and loudness > LOUD_LUFS:
        add("loud", f"loud: {loudness:.0f} LUFS")
    if row.sample_rate_hz is not None and row.sample_rate_hz < NARROW_HZ:
        rate_khz = row.sample_rate_hz / 1000
        add("narrow sound", f"sound at {rate_khz:g} kHz: nothing above {rate_khz / 2:g} kHz")
    if row.fps is not None and row.fps < FEW_FPS:
        add("few frames", f"{row.fps:g} frames per second")
    if clip_s is not None and row.duration_s < clip_s - 0.1:
        add("shorter than a clip", f"short: {row.duration_s:.1f} of {clip_s:g} s, the rest is masked")
    if n_same > 1:
        add("sound of another file", f"{n_same} files have this sound")
    if row.caption is None:
        add("no caption", "no caption")
    return out


def verify(
    manifest: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Row], list[Problem]]:
    """The rows of a manifest, and what is wrong with their files: there, unchanged, as long and at the rate stated?

    Raises ManifestError for a list with bad lines.
    """
    rows = read_manifest(manifest)
    by_file: dict[Path, list[Row]] = {}
    for row in rows:
        by_file.setdefault(row.file(manifest.parent), []).append(row)
    problems: list[Problem] = []
    for done, (file, clips) in enumerate(by_file.items(), start=1):
        try:
            if not file.is_file():
                named = clips[0].id + (f" and {len(clips) - 1} more clips" if len(clips) > 1 else "")
                problems.append(Problem(str(file), f"a file that is there (for {named})", "nothing", "put it back"))
            elif file_sha256(file) != clips[0].file_sha256:
                fix = "run `expotion data prepare` again"
                problems.append(Problem(str(file), "the file that was prepared", "another content", fix))
            else:
                found = scan(file)
                problems += [problem for row in clips for problem in differences(row, found, str(file))]
        except ExpotionError as error:
            problems += error.problems
        progress(done, len(by_file))
    return rows, problems
