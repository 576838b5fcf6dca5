"""The overview page of a manifest: stills, waveforms and numbers of its rows, handed to the report."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np

from expotion.errors import ExpotionError
from expotion.manifest.rows import Row, read_manifest
from expotion.manifest.source import ManifestClip
from expotion.report.plot import envelope
from expotion.video.writing import write_video
from expotion_corpus.page import SPLITS, CorpusClip, CorpusPage, Histogram, write_corpus_page
from expotion_corpus.stats import Finding, findings

OUTLINE_HZ = 4000
STILL_PX = 180
EMBED_PX = 240
EMBED_FPS = 15.0
EMBED_HZ = 32_000
MAX_BYTES = 60_000_000


def write_overview(manifest: Path, out: Path, *, embed: bool, most: int) -> list[str]:
    """Write the page; what had to be left out of it, in sentences."""
    from rich.console import Console

    from expotion.progress import stage_progress

    rows = read_manifest(manifest, files=True)
    found = findings(rows, manifest)
    order = sorted(range(len(rows)), key=lambda i: not found[i])[:most]
    notes = []
    if len(order) < len(rows):
        notes.append(f"{len(order)} of {len(rows)} clips have players; --most raises that")
    clips: list[CorpusClip] = []
    n_bytes = 0
    with stage_progress(Console(stderr=True, soft_wrap=True), "overview") as progress:
        for done, i in enumerate(order, start=1):
            clip, note = _clip(rows[i], manifest.parent, out, found[i], embed)
            n_bytes += len(clip.source) + len(clip.still_uri) + len(clip.outline)
            if n_bytes > MAX_BYTES:
                notes.append(f"{len(clips)} of {len(rows)} clips have players; more would pass 60 MB")
                break
            clips.append(clip)
            notes += [note] if note else []
            progress(done, len(order))
    report = _report(manifest)
    kinds = Counter(one.kind for several in found for one in several)
    page = CorpusPage(
        title=manifest.parent.resolve().name or manifest.stem,
        facts={
            "clips": str(len(rows)),
            "files": str(len({row.file_sha256 for row in rows})),
            "duration": f"{sum(row.duration_s for row in rows) / 60:.1f} min",
            "with problems": str(sum(bool(several) for several in found)),
            "manifest": manifest.name,
        },
        counts=_counts(rows),
        histograms=_histograms(rows),
        clips=clips,
        problems=dict(kinds.most_common()),
        dropped=[(_where(drop), str(drop["reason"])) for drop in report.get("dropped", [])],
        notes=notes,
    )
    write_corpus_page(out, page)
    return notes


def _report(manifest: Path) -> dict[str, Any]:
    try:
        content = json.loads((manifest.parent / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _where(drop: dict[str, Any]) -> str:
    return str(drop["where"]) + (f" at {drop['start_s']:.2f} s" if "start_s" in drop else "")


def _counts(rows: list[Row]) -> dict[str, tuple[int, float]]:
    parts = {name: [row for row in rows if (row.split or "none") == name] for name in SPLITS}
    return {name: (len(part), sum(row.duration_s for row in part)) for name, part in parts.items() if part}


def _histograms(rows: list[Row]) -> list[Histogram]:
    wanted: list[tuple[str, str, Any]] = [
        ("Length", "s", lambda row: row.duration_s),
        ("Loudness", "LUFS", lambda row: row.loudness_lufs),
        ("Silence", "%", lambda row: None if row.silent_fraction is None else 100 * row.silent_fraction),
        ("Change of the picture in a second", "levels", lambda row: row.picture_change),
        ("Frame rate", "fps", lambda row: row.fps),
        ("Caption", "words", lambda row: len((row.caption or "").split())),
    ]
    histograms = []
    for title, unit, number in wanted:
        values: dict[str, list[float]] = {}
        for row in rows:
            value = number(row)
            if value is not None:
                values.setdefault(row.split or "none", []).append(float(value))
        histograms.append(Histogram(title, unit, values))
    return histograms


def _clip(
    row: Row, folder: Path, out: Path, problems: list[Finding], embed: bool
) -> tuple[CorpusClip, str | None]:
    facts = [
        ("length", f"{row.duration_s:.2f} s from {row.start_s:.2f} s"),
        ("loudness", "silence" if row.loudness_lufs is None else f"{row.loudness_lufs:.1f} LUFS"),
        ("picture", f"{row.width} × {row.height}, {row.fps:g} fps" if row.fps else "unknown"),
        ("sound", f"{row.sample_rate_hz / 1000:g} kHz" if row.sample_rate_hz else "unknown"),
    ]
    facts += [(key, value) for key in ("song", "performer", "recording") if (value := getattr(row, key))]
    facts.append(("file", row.file(folder).name))
    end_s = row.start_s + row.duration_s
    where = _address(row.file(folder).resolve(), out.resolve().parent)
    shown = CorpusClip(
        id=row.id,
        split=row.split or "none",
        duration_s=row.duration_s,
        caption=row.caption,
        problems=tuple(one.text for one in problems),
        facts=tuple(facts),
        source=where if row.whole else f"{where}#t={row.start_s:.3f},{end_s:.3f}",
    )
    clip = ManifestClip(row, folder)
    try:
        with contextlib.closing(clip):
            samples = clip.audio(OUTLINE_HZ)
            outline = "" if samples is None else envelope(samples, 200)
            return replace(
                shown,
                outline=outline,
                still_uri=_still(clip),
                source=_copy(clip) if embed else shown.source,
            ), None
    except ExpotionError as error:
        return shown, f"{row.id}: no still: {error}"


def _address(file: Path, page_folder: Path) -> str:
    """Where a player finds a file: relative, so that page and files can be moved together."""
    try:
        return quote(os.path.relpath(file, page_folder).replace(os.sep, "/"))
    except ValueError:  # another drive
        return file.as_uri()


def _still(clip: ManifestClip) -> str:
    import cv2

    assert clip.video is not None
    frame = clip.video.frames_at(np.array([clip.duration_s / 2]), shorter_side=STILL_PX)[0]
    done, jpeg = cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 72])
    return _uri(jpeg.tobytes(), "image/jpeg") if done else ""


def _copy(clip: ManifestClip) -> str:
    """The stretch as a small mp4 with sound, as a data URI."""
    assert clip.video is not None
    times_s = np.arange(0.0, clip.duration_s, 1.0 / EMBED_FPS)
    frames = clip.video.frames_at(times_s, shorter_side=EMBED_PX)
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with TemporaryDirectory(prefix="expotion-") as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, list(even), times_s, clip.audio(EMBED_HZ), EMBED_HZ, duration_s=clip.duration_s)
        return _uri(path.read_bytes(), "video/mp4")


def _uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
