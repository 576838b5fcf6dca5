"""`expotion features show`: one page with the video, what the encoders looked at, and their tracks in sync."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Encoder, Overlay, SmoothedTrack, TimedFeatures, Video, read_ahead
from expotion.errors import FAULTS, MediaError, Problem, in_short
from expotion.features.extract import extract_all
from expotion.features.job import ClipFile
from expotion.features.movement import Movement, movement_of
from expotion.features.smooth import coverage, gaps, smooth_track
from expotion.features.store import FeatureStore
from expotion.files import write_text
from expotion.report.media import data_uri, encode_picture
from expotion.report.plot import bars, path
from expotion.report.write import environment

MOST_CHANNELS = 48
MOST_COLUMNS = 1500
N_COMPONENTS = 3
Floats = NDArray[np.float64]


def lane(track: TimedFeatures, smoothed: SmoothedTrack, rate_hz: float, duration_s: float) -> dict[str, Any]:
    """Views of a native track and the same track smoothed.

    Heat maps are PNG data URIs, curves SVG paths in a box of 1000 x 100, `gaps` stretches without anything valid
    in percent of the clip's length.
    """
    columns = min(MOST_COLUMNS, len(smoothed.values))
    at_s = (np.arange(columns) + 0.5) * duration_s / columns
    known = track.values[track.valid] if track.valid.any() else np.zeros((1, track.values.shape[1]), np.float32)
    low, high = np.percentile(known, [2, 98], axis=0)
    channels = np.sort(np.argsort(-known.var(axis=0), kind="stable")[:MOST_CHANNELS])
    span = np.where(high > low, high - low, 1.0)

    def heat(values: NDArray[np.float32], valid: NDArray[np.bool_], row: NDArray[np.int64]) -> str:
        grey = np.clip((values[row][:, channels] - low[channels]) / span[channels], 0, 1)
        return _png(grey.T, valid[row])

    nearest = np.abs(track.times_s[None] - at_s[:, None]).argmin(axis=1) if len(track.times_s) else None
    step = np.minimum((at_s * rate_hz).round().astype(np.int64), len(smoothed.values) - 1)
    mean = known.mean(axis=0)
    _, scale, axes = np.linalg.svd((known - mean).astype(np.float64), full_matrices=False)
    energy = scale**2 / max(float((scale**2).sum()), 1e-12)
    k = min(N_COMPONENTS, len(axes))
    rows = (smoothed.values - mean) @ axes[:k].T
    limit = np.maximum(np.abs(rows[smoothed.valid]).max(axis=0), 1e-9) if smoothed.valid.any() else np.ones(k)
    thin = slice(None, None, max(1, len(rows) // MOST_COLUMNS))
    heights = np.where(smoothed.valid[:, None], _height(rows / limit), np.nan)[thin]
    across = (np.arange(len(rows)) / rate_hz / duration_s)[thin]
    points = _height((track.values - mean) @ axes[:k].T / limit)
    kept = np.flatnonzero(track.valid)[:: max(1, int(track.valid.sum()) // MOST_COLUMNS)]
    return {
        "native": "" if nearest is None else heat(track.values, track.valid, nearest),
        "smoothed": heat(smoothed.values, smoothed.valid, step),
        # Points of no length, drawn by round line caps.
        "native_curves": [
            "".join(f"M{1000 * track.times_s[i] / duration_s:.1f} {100 - 100 * points[i, j]:.1f}h0" for i in kept)
            for j in range(k)
        ],
        "curves": [path(across, heights[:, j]) for j in range(k)],
        "explained": [float(share) for share in energy[:k]],
        "gaps": [
            (100 * start / rate_hz / duration_s, min(100.0, 100 * end / rate_hz / duration_s))
            for start, end in gaps(smoothed.valid)
        ],
        "channels": track.values.shape[1],
    }


def _height(values: Floats) -> Floats:
    """Values of about -1 to 1 as places 0..1 in a box, with some room."""
    return 0.5 + 0.46 * np.clip(values, -1.05, 1.05)


def _png(grey: Floats, valid: NDArray[np.bool_]) -> str:
    import cv2  # noqa: PLC0415

    coloured = cv2.applyColorMap((grey * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    alpha = np.broadcast_to(np.where(valid, 255, 0).astype(np.uint8), grey.shape)
    _, png = cv2.imencode(".png", np.dstack([coloured, alpha]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data_uri(png.tobytes(), "image/png")


SHORTER_SIDE_PX = 240
RATE_HZ = 15
LONGEST_S = 120.0
CHUNK = 32


def small_mp4(video: Video, duration_s: float) -> bytes:
    """MP4 of what is shown at every 1/15 s, at most LONGEST_S long; time 0 is the clip's start."""
    import av  # noqa: PLC0415

    n = timeline.n_steps(min(duration_s, LONGEST_S), RATE_HZ)
    times_s = timeline.sample_times_s(n, RATE_HZ)
    side = min(SHORTER_SIDE_PX, *video.size)
    read_ahead(video, times_s, shorter_side=side)

    def frames() -> Iterator[Any]:
        for start in range(0, n, CHUNK):
            for i, picture in enumerate(video.frames_at(times_s[start : start + CHUNK], shorter_side=side)):
                even = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
                frame = av.VideoFrame.from_ndarray(even, format="rgb24")
                frame.pts, frame.time_base = start + i, Fraction(1, RATE_HZ)
                yield frame

    return encode_picture(frames(), RATE_HZ, crf=27, g="15")


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
    views, overlays, seen, lines = [], [], [], []
    for name, track in tracks.items():
        encoder = encoders[name]
        smoothed = smooth_track(encoder, track, timeline.n_steps(clip.duration_s, rate_hz), rate_hz)
        shown = view(name, encoder, track, smoothed, rate_hz)
        views.append({**shown, "lane": lane(track, smoothed, rate_hz, clip.duration_s)})
        lines.append(f"{name}: {coverage(track, smoothed, rate_hz)}")
        drawn = overlay_of(encoder, clip, name, notes)
        if drawn is not None:
            seen.append(drawn)
            overlays.append(overlay_values(name, drawn))
    mp4 = small_mp4(video, clip.duration_s)
    moved = motion_values(movement_of(clip, seen))
    clip.close()
    write_text(out, _render(clip, mp4, views, overlays, notes, moved))
    return [*lines, *notes]


def view(
    name: str, encoder: Encoder, track: TimedFeatures, smoothed: SmoothedTrack, rate_hz: float
) -> dict[str, Any]:
    """How much of a clip a track speaks of, in words."""
    told = coverage(track, smoothed, rate_hz)
    lost = int((~track.valid).sum())
    period = timeline.period_s(track.times_s)
    speed = f"{1 / period:.3g} rows a second" if period else "a single row"
    words = f"{name} has something to say in {told.rows:.0%} of the clip."
    if lost:
        words += f" {lost} of {len(track.valid)} of its own rows are left out: the encoder marked them not valid."
    if told.gaps_s:
        words += f" Nothing steers the music at {told.times}; the longest gap is {told.longest_gap_s:.1f} s."
    change, hint = _change(smoothed), ""
    if change is not None and change <= 0.02:
        hint = "The track hardly changes from one moment to the next, so there is little for the music to follow."
    about = f"{len(track.times_s)} rows of {track.values.shape[1]} values, {speed}"
    return {"name": name, "encoder": encoder.spec.name, "about": about, "words": words, "hint": hint}


def _change(smoothed: SmoothedTrack) -> float | None:
    """Median change within half a second over the spread of the track, or None for too short a track."""
    values = smoothed.values[smoothed.valid]
    if len(values) < 50:
        return None
    spread = float(np.linalg.norm(values - values.mean(axis=0), axis=1).mean())
    moved = float(np.median(np.linalg.norm(values[25:] - values[:-25], axis=1)))
    return moved / spread if spread > 1e-9 else 0.0


def overlay_of(encoder: Encoder, clip: Clip, name: str, notes: list[str]) -> Overlay | None:
    """What an encoder saw; where that fails, a note."""
    try:
        return encoder.overlay(clip)
    except FAULTS as error:  # the page is of use without it
        notes.append(f"{name}: what it looked at is not drawn ({in_short(error)})")
        return None


def overlay_values(name: str, drawn: Overlay) -> dict[str, Any]:
    """What an encoder saw as the page's script reads it."""
    plain: dict[str, Any] = {"name": name, "note": drawn.note}
    if drawn.boxes is not None:
        plain["boxes"] = [[None if np.isnan(v) else round(float(v), 4) for v in row] for row in drawn.boxes]
    if drawn.points is not None and drawn.point_times_s is not None:
        plain["pointTimes"] = [round(float(t), 3) for t in drawn.point_times_s]
        points = np.where(np.isfinite(drawn.points), np.rint(drawn.points * 1e3), -1).astype(int)
        plain["points"] = points.reshape(len(points), -1).tolist()
        plain["lines"] = [list(pair) for pair in drawn.lines]
    for key, times_s in (("events", drawn.events_s), ("beats", drawn.beats_s)):
        if times_s is not None:
            plain[key] = [round(float(t), 3) for t in times_s]
    if drawn.vectors is not None and drawn.vector_times_s is not None:
        plain["times"] = [round(float(t), 3) for t in drawn.vector_times_s]
        plain["shape"] = list(drawn.vectors.shape[1:3])
        plain["vectors"] = [[round(float(v), 3) for v in grid.reshape(-1)] for grid in drawn.vectors]
    return plain


def motion_values(found: Movement) -> dict[str, Any]:
    """The motiongram as a picture; quantity of motion and expression as curves; events and beats as strokes."""
    motion, duration_s = found.motion, found.duration_s
    columns = np.minimum(
        (np.arange(MOST_COLUMNS) + 0.5) / MOST_COLUMNS * len(motion.times_s), len(motion.times_s) - 1
    )
    rows = np.sqrt(motion.rows / max(float(motion.rows.max()), 1e-6))[:, columns.astype(np.int64)]
    share = motion.quantity.astype(np.float64) / max(float(motion.quantity.max()), 1e-6)
    strokes = {
        "events": bars(found.events_s / duration_s, 0.0, 0.2),
        "beats": bars(found.beats_s / duration_s, 0.8, 1.0),
    }
    expression = ""
    if found.expression is not None and np.isfinite(found.expression).any():
        most = max(float(np.nanmax(found.expression)), 1e-6)
        expression = path(motion.times_s / duration_s, found.expression / most)
    return {
        "gram": _png(rows, np.ones(rows.shape[1], bool)),
        "curve": path(motion.times_s / duration_s, share),
        "expression": expression,
        "most": float(motion.quantity.max()),
        **strokes,
    }


def _render(
    clip: Clip,
    mp4: bytes,
    views: list[dict[str, Any]],
    overlays: list[dict[str, Any]],
    notes: list[str],
    moved: dict[str, Any],
) -> str:
    folder = files("expotion.report") / "templates"
    styles, scripts = (
        "".join((folder / name).read_text(encoding="utf-8") for name in names)
        for names in (("report.css", "features.css"), ("last.js", "features.js"))
    )
    data = json.dumps({"duration": clip.duration_s, "overlays": overlays}).replace("</", "<\\/")
    return (
        environment()
        .get_template("features.html")
        .render(
            clip=clip,
            video=data_uri(mp4, "video/mp4"),
            style=styles,
            script=scripts,
            data=data,
            views=views,
            overlays=overlays,
            notes=notes,
            moved=moved,
        )
    )
