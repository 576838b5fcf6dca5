"""A page to look through a corpus: players, captions, numbers, problems and histograms, in one file."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import numpy as np

from expotion.errors import ExpotionError
from expotion.files import write_text
from expotion.manifest.rows import Row, read_header, read_manifest
from expotion.manifest.source import ManifestClip
from expotion.report.media import data_uri
from expotion.report.plot import Tick, envelope, ticks
from expotion.report.write import environment
from expotion.video.writing import write_video
from expotion_corpus.prepare import where_of
from expotion_corpus.stats import Finding, findings

OUTLINE_HZ = 4000
STILL_PX = 180
EMBED_PX = 240
EMBED_FPS = 15.0
EMBED_HZ = 32_000
MAX_BYTES = 60_000_000
SPLITS = ("train", "validation", "test", "none")
N_BINS = 20


@dataclass(frozen=True)
class CorpusClip:
    """A clip on the page. `source` is an address or data URI that a player opens, `still_uri` its picture.

    `facts` are (name, value) in words; `outline` is SVG path data of the waveform in a box of 1000 by 100.
    """

    id: str
    split: str
    caption: str | None = None
    problems: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    source: str = ""
    still_uri: str = ""
    outline: str = ""


@dataclass(frozen=True)
class Bar:
    """A part of a stacked bar, in a box of 1000 by 100."""

    x: float
    y: float
    width: float
    height: float
    split: str
    told: str


@dataclass(frozen=True)
class Histogram:
    """Values by split as stacked bars."""

    title: str
    note: str
    bars: list[Bar]
    x_ticks: list[Tick]
    most: int


@dataclass(frozen=True)
class CorpusPage:
    """Everything on the page. `counts` are clips and seconds by split, `dropped` is (where, why)."""

    title: str
    facts: dict[str, str]
    counts: dict[str, tuple[int, float]]
    histograms: list[Histogram]
    clips: list[CorpusClip]
    problems: dict[str, int] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
    parts = {name: [row for row in rows if (row.split or "none") == name] for name in SPLITS}
    report = read_header(manifest.with_name("report.json"))  # empty where there is none
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
        counts={name: (len(p), sum(row.duration_s for row in p)) for name, p in parts.items() if p},
        histograms=_histograms(rows),
        clips=clips,
        problems=dict(kinds.most_common()),
        dropped=[(where_of(drop), str(drop["reason"])) for drop in report.get("dropped", [])],
        notes=notes,
    )
    write_text(out, render_corpus(page))
    return notes


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
            if (value := number(row)) is not None:
                values.setdefault(row.split or "none", []).append(float(value))
        if (histogram := histogram_of(title, unit, values)) is not None:
            histograms.append(histogram)
    return histograms


def _clip(row: Row, folder: Path, out: Path, problems: list[Finding], embed: bool) -> tuple[CorpusClip, str | None]:
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
                shown, outline=outline, still_uri=_still(clip), source=_copy(clip) if embed else shown.source
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
    return data_uri(jpeg.tobytes(), "image/jpeg") if done else ""


def _copy(clip: ManifestClip) -> str:
    """The stretch as a small mp4 with sound, as a data URI."""
    assert clip.video is not None
    times_s = np.arange(0.0, clip.duration_s, 1.0 / EMBED_FPS)
    frames = clip.video.frames_at(times_s, shorter_side=EMBED_PX)
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with TemporaryDirectory(prefix="expotion-") as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, list(even), times_s, clip.audio(EMBED_HZ), EMBED_HZ, duration_s=clip.duration_s)
        return data_uri(path.read_bytes(), "video/mp4")


def render_corpus(page: CorpusPage) -> str:
    """The page as text."""
    shared, own = (files(package) / "templates" for package in ("expotion.report", "expotion_corpus"))
    total = max(1, sum(count for count, _ in page.counts.values()))
    style = "".join(path.read_text(encoding="utf-8") for path in (shared / "report.css", own / "corpus.css"))
    return (
        environment("expotion_corpus")
        .get_template("corpus.html")
        .render(
            page=page,
            style=style,
            script=(own / "corpus.js").read_text(encoding="utf-8"),
            shares=[(name, count, seconds, 100 * count / total) for name, (count, seconds) in page.counts.items()],
            histograms=page.histograms,
        )
    )


def histogram_of(title: str, unit: str, by_split: Mapping[str, Sequence[float]]) -> Histogram | None:
    """Stacked bars of the values by split; None where there are no values."""
    every = np.asarray([v for values in by_split.values() for v in values], dtype=np.float64)
    if not len(every):
        return None
    low, high = float(every.min()), float(every.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, N_BINS + 1)
    counts = {name: np.histogram(values, edges)[0] for name, values in by_split.items()}
    most = max(1, int(np.sum(list(counts.values()), axis=0).max()))
    bars = []
    width = 1000.0 / N_BINS
    for i in range(N_BINS):
        base = 100.0
        for name in (name for name in SPLITS if name in counts):
            n = int(counts[name][i])
            if n:
                height = 100.0 * n / most
                base -= height
                told = f"{n} {name}, {edges[i]:.3g} to {edges[i + 1]:.3g} {unit}"
                bars.append(Bar(i * width + 2, base, width - 4, height, name, told))
    note = f"median {np.median(every):.3g}, {every.min():.3g} to {every.max():.3g} {unit}"
    return Histogram(title, note, bars, ticks(low, high), most)
