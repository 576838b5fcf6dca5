"""`expotion features show`: one page with the video, what the encoders looked at, and their tracks in sync."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from expotion import timeline
from expotion.contracts import Clip, Encoder, Overlay, SmoothedTrack, TimedFeatures
from expotion.errors import ExpotionError, MediaError, Problem
from expotion.features.one_clip import extract_all
from expotion.features.smooth import coverage, smooth_track
from expotion.features.store import FeatureStore
from expotion.files import write_text
from expotion.pipeline.features.clips import ClipFile
from expotion.pipeline.features.lanes import Lane, lane
from expotion.pipeline.features.picture import LONGEST_S, small_mp4
from expotion.report.media import data_uri


def write_page(file: ClipFile, encoders: Mapping[str, Encoder], store: FeatureStore, out: Path) -> list[str]:
    """Extract what is missing and write the page, whole or not at all; returns lines for the terminal.

    Raises MediaError for a clip without a picture or one that no encoder could deal with.
    """
    clip = file.open()
    video = clip.video
    if video is None:
        raise MediaError(Problem(file.path, "a clip with a picture", "sound only"))
    found, failures, warnings = extract_all(encoders, clip, store)
    tracks = {name: track for name, track in found.items() if isinstance(track, TimedFeatures)}
    if not tracks:
        reasons = "; ".join(str(failure) for failure in failures) or "only token features"
        raise MediaError(Problem(file.path, "a track to show", reasons))
    notes = [*map(str, failures), *dict.fromkeys(warnings)]
    notes += [f"{name}: features without times are not drawn" for name in found if name not in tracks]
    if clip.duration_s > LONGEST_S:
        notes.append(f"The picture ends at {LONGEST_S:.0f} s; the tracks are whole.")
    rate_hz = timeline.CODEC_RATE_HZ
    views, overlays, lines = [], [], []
    for name, track in tracks.items():
        encoder = encoders[name]
        smoothed = smooth_track(encoder, track, timeline.n_steps(clip.duration_s, rate_hz), rate_hz)
        made = lane(track, smoothed, rate_hz, clip.duration_s)
        views.append(_view(name, encoder, track, smoothed, made, rate_hz))
        lines.append(f"{name}: {coverage(track, smoothed, rate_hz)}")
        drawn = _overlay(encoder, clip, name, notes)
        if drawn is not None:
            overlays.append(drawn)
    mp4 = small_mp4(video, clip.duration_s)
    clip.close()
    write_text(out, _render(clip, mp4, views, overlays, notes))
    return [*lines, *notes]


def _view(
    name: str,
    encoder: Encoder,
    track: TimedFeatures,
    smoothed: SmoothedTrack,
    made: Lane,
    rate_hz: float,
) -> dict[str, Any]:
    told = coverage(track, smoothed, rate_hz)
    lost = int((~track.valid).sum())
    gaps_s = [
        (round(a, 1), round(b, 1))
        for a, b in (
            (x * len(smoothed.values) / rate_hz / 100, y * len(smoothed.values) / rate_hz / 100)
            for x, y in made.gaps
        )
    ]
    where = ", ".join(f"{a:g} to {b:g} s" for a, b in gaps_s[:6]) + (" and more" if len(gaps_s) > 6 else "")
    period = timeline.period_s(track.times_s)
    speed = f"{1 / period:.3g} rows a second" if period else "a single row"
    words = f"{name} has something to say in {told.rows:.0%} of the clip."
    if lost:
        words += (
            f" {lost} of {len(track.valid)} of its own rows are left out: the encoder marked them not valid."
        )
    if gaps_s:
        words += f" Nothing steers the music at {where}; the longest gap is {told.longest_gap_s:.1f} s."
    change = _change(smoothed)
    return {
        "name": name,
        "encoder": encoder.spec.name,
        "about": f"{len(track.times_s)} rows of {made.channels} values, {speed}",
        "words": words,
        "hint": ""
        if change is None or change > 0.02
        else (
            "The track hardly changes from one moment to the next, so there is little for the music to follow."
        ),
        "lane": made,
    }


def _change(smoothed: SmoothedTrack) -> float | None:
    """Median change within half a second over the spread of the track, or None for too short a track."""
    values = smoothed.values[smoothed.valid]
    if len(values) < 50:
        return None
    spread = float(np.linalg.norm(values - values.mean(axis=0), axis=1).mean())
    moved = float(np.median(np.linalg.norm(values[25:] - values[:-25], axis=1)))
    return moved / spread if spread > 1e-9 else 0.0


def _overlay(encoder: Encoder, clip: Clip, name: str, notes: list[str]) -> dict[str, Any] | None:
    try:
        drawn: Overlay | None = encoder.overlay(clip)
    except Exception as error:  # the page is of use without it
        told = str(error) if isinstance(error, ExpotionError) else f"{type(error).__name__}: {error}"
        notes.append(f"{name}: what it looked at is not drawn ({told})")
        return None
    if drawn is None:
        return None
    plain: dict[str, Any] = {"name": name, "note": drawn.note}
    if drawn.boxes is not None:
        plain["boxes"] = [[None if np.isnan(v) else round(float(v), 4) for v in row] for row in drawn.boxes]
    if drawn.vectors is not None and drawn.vector_times_s is not None:
        plain["times"] = [round(float(t), 3) for t in drawn.vector_times_s]
        plain["shape"] = list(drawn.vectors.shape[1:3])
        plain["vectors"] = [[round(float(v), 3) for v in grid.reshape(-1)] for grid in drawn.vectors]
    return plain


def _render(
    clip: Clip, mp4: bytes, views: list[dict[str, Any]], overlays: list[dict[str, Any]], notes: list[str]
) -> str:
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expotion.pipeline.features", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = files("expotion.pipeline.features") / "templates"
    base = (files("expotion.report") / "templates" / "report.css").read_text(encoding="utf-8")
    data = json.dumps({"duration": clip.duration_s, "overlays": overlays}).replace("</", "<\\/")
    return environment.get_template("features.html").render(
        clip=clip,
        video=data_uri(mp4, "video/mp4"),
        style=base + (folder / "features.css").read_text(encoding="utf-8"),
        script=(folder / "features.js").read_text(encoding="utf-8"),
        data=data,
        views=views,
        overlays=overlays,
        notes=notes,
    )
