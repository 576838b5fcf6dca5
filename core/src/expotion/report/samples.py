"""One clip as the template shows it: players, and lanes that share one time axis."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expotion.evaluate.level_metrics import curve_times_s, level_db
from expotion.report import media, plot, wording
from expotion.report.data import Control, Gates, ReportData, Sample, Sound

HIT_S = 0.070
"""A beat counts as met within this time, as in the metric."""
MAX_LINES = 8
LEVEL_FLOOR_DB = -60.0


@dataclass(frozen=True)
class Track:
    """A sound of a sample: its data URI, outline, beats that hit and that miss."""

    key: str
    label: str
    uri: str
    outline: str
    hits: str
    misses: str
    level: str
    beat_note: str


@dataclass(frozen=True)
class Lane:
    """Curves over the clip's time. `gaps` are stretches [start, length] in 0..1000 without a value."""

    title: str
    note: str
    lines: list[plot.Line]
    gaps: list[tuple[float, float]] = field(default_factory=list)
    zero: float | None = None


@dataclass(frozen=True)
class SampleView:
    """Everything the template needs for one sample."""

    id: str
    caption: str
    duration_s: float
    video_uri: str
    still_uri: str
    size: tuple[int, int]
    tracks: list[Track]
    chosen: str
    true_beats: str
    true_label: str
    intensity: str
    level_note: str
    lanes: list[Lane]
    ticks: list[plot.Tick]
    score_heads: list[str]
    score_rows: list[tuple[str, list[str]]]

    @property
    def n_bytes(self) -> int:
        """Size of the embedded media."""
        return len(self.video_uri) + len(self.still_uri) + sum(len(track.uri) for track in self.tracks)


def sample_view(data: ReportData, sample: Sample) -> tuple[SampleView, str | None]:
    """The view of a sample, and a note where its video could not be embedded."""
    note = None
    video_uri, still_uri, size = "", "", (9, 16)
    if sample.video is not None:
        try:
            content, still, size = media.prepare_video(sample.video)
            video_uri = media.data_uri(content, "video/mp4")
            still_uri = media.data_uri(still, "image/jpeg") if still else ""
        except (OSError, ValueError, IndexError) as error:
            note = f"{sample.id}: the video could not be embedded ({error})"
    range_db = _level_range(sample)
    tracks = [_track(sample, key, sound, range_db) for key, sound in sample.sounds.items()]
    keys = list(sample.sounds)
    chosen = data.main if data.main in keys else keys[0] if keys else ""
    heads, rows = _scores(data, sample)
    view = SampleView(
        id=sample.id,
        caption=sample.caption or "",
        duration_s=sample.duration_s,
        video_uri=video_uri,
        still_uri=still_uri,
        size=size,
        tracks=tracks,
        chosen=chosen or "",
        true_beats=_strokes(sample.beats_true_s, sample.duration_s, 0.0, 1.0),
        true_label=sample.beats_true_label,
        intensity=_intensity(sample),
        level_note=f"{range_db[0]:.0f} to {range_db[1]:.0f} dB".replace("-", "−"),
        lanes=[_control_lane(control, sample.duration_s) for control in sample.controls]
        + ([_gate_lane(sample.gates, sample.duration_s)] if sample.gates is not None else []),
        ticks=plot.ticks(0.0, sample.duration_s, 5),
        score_heads=heads,
        score_rows=rows,
    )
    return view, note


def level_curve(sound: Sound, duration_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [k] (10 Hz) and RMS level in dB [k] over the half second around each."""
    at_s = curve_times_s(duration_s)
    return at_s, np.maximum(level_db(sound.samples, sound.sample_rate_hz, at_s), LEVEL_FLOOR_DB)


def principal(
    values: NDArray[np.float64], valid: NDArray[np.bool_], n_most: int = 3
) -> tuple[NDArray[np.float64], float]:
    """The first principal components of the valid rows of [n, c] as [n, <= 3], and their variance share."""
    centred = values - values[valid].mean(axis=0)
    _, strengths, axes = np.linalg.svd(centred[valid], full_matrices=False)
    total = float((strengths**2).sum())
    share = float((strengths[:n_most] ** 2).sum()) / total if total > 0 else 1.0
    return centred @ axes[:n_most].T, share


def _track(sample: Sample, key: str, sound: Sound, range_db: tuple[float, float]) -> Track:
    beats_s = np.zeros(0) if sound.beats_s is None else np.asarray(sound.beats_s, dtype=np.float64)
    met = np.zeros(len(beats_s), dtype=np.bool_)
    note = f"{len(beats_s)} beats found" if sound.beats_s is not None else ""
    true_s = sample.beats_true_s
    if true_s is not None and len(true_s) and len(beats_s):
        met = np.abs(beats_s[:, None] - true_s[None, :]).min(axis=1) <= HIT_S
        note += f", {int(met.sum())} within 70 ms of the {len(true_s)} {sample.beats_true_label}"
    at_s, level = level_curve(sound, sample.duration_s)
    n_shown = min(len(sound.samples), round(sample.duration_s * sound.sample_rate_hz))
    padded = np.zeros(max(1, round(sample.duration_s * sound.sample_rate_hz)), dtype=np.float32)
    padded[:n_shown] = np.nan_to_num(sound.samples[:n_shown])
    return Track(
        key=key,
        label=wording.condition_label(key),
        uri=media.data_uri(media.encode_sound(sound.samples, sound.sample_rate_hz), "audio/mp4"),
        outline=plot.envelope(padded),
        hits=_strokes(beats_s[met], sample.duration_s, 0.0, 0.2),
        misses=_strokes(beats_s[~met], sample.duration_s, 0.0, 0.2),
        level=plot.path(at_s / sample.duration_s, plot.unit(level, *range_db)),
        beat_note=note,
    )


def _level_range(sample: Sample) -> tuple[float, float]:
    levels = [level_curve(sound, sample.duration_s)[1] for sound in sample.sounds.values()]
    return plot.span_of(levels) if levels else (LEVEL_FLOOR_DB, 0.0)


def _strokes(beats_s: NDArray[np.float64] | None, duration_s: float, bottom: float, top: float) -> str:
    return "" if beats_s is None else plot.bars(np.asarray(beats_s) / duration_s, bottom, top)


def _intensity(sample: Sample) -> str:
    if sample.intensity is None or sample.intensity_times_s is None:
        return ""
    at = plot.thinned(np.asarray(sample.intensity_times_s, dtype=np.float64)) / sample.duration_s
    values = plot.thinned(np.asarray(sample.intensity, dtype=np.float64))
    inside = at <= 1.0
    return plot.area(at[inside], plot.unit(values[inside], 0.0, 1.0))


def _control_lane(control: Control, duration_s: float) -> Lane:
    values = np.asarray(control.values, dtype=np.float64)
    valid = np.asarray(control.valid, dtype=np.bool_)
    n_dimensions = values.shape[1] if values.ndim == 2 else 0
    parts = [f"covers {100 * float(valid.mean()) if len(valid) else 0:.0f} % of the clip"]
    lines: list[plot.Line] = []
    if valid.any() and n_dimensions:
        if n_dimensions > 3:
            values, share = principal(values, valid)
            parts.insert(0, f"3 main components of {n_dimensions} ({100 * share:.0f} % of the variance)")
        values = values / np.maximum(np.abs(values[valid]).max(axis=0), 1e-12)
        values[~valid] = np.nan
        lines = _curves(control.times_s / duration_s, values, -1.05, 1.05, [""] * values.shape[1])
    strength = np.broadcast_to(np.asarray(control.strength, dtype=np.float64), (len(valid),))
    if len(strength) and not np.allclose(strength, 1.0):
        if np.ptp(strength) < 1e-9:
            parts.append(f"strength {strength[0]:.2g}")
        else:
            at = plot.thinned(np.asarray(control.times_s, dtype=np.float64)) / duration_s
            lines.append(plot.Line(plot.path(at, plot.unit(plot.thinned(strength), 0, 1)), "dashed", "strength"))
    return Lane(control.name, ", ".join(parts), lines, _gaps(control.times_s / duration_s, valid))


def _gate_lane(gates: Gates, duration_s: float) -> Lane:
    values = np.asarray(gates.values, dtype=np.float64)  # [n, L]
    layers = list(gates.layers) or list(range(values.shape[1]))
    finite = np.nan_to_num(np.abs(values))
    kept = sorted(np.argsort(-finite.mean(axis=0))[:MAX_LINES].tolist()) if len(values) else []
    low, high = plot.span_of([values[:, kept], np.zeros(1)])
    lines = _curves(
        gates.times_s / duration_s, values[:, kept], low, high, [f"layer {layers[index]}" for index in kept]
    )
    few = "" if len(kept) == values.shape[1] else f", the {len(kept)} strongest of {values.shape[1]} layers"
    zero = float(100 * (1 - plot.unit(np.zeros(1), low, high)[0]))
    return Lane("gates", f"{gates.what}{few}", lines, zero=zero)


def _curves(
    at: NDArray[np.float64], values: NDArray[np.float64], low: float, high: float, labels: list[str]
) -> list[plot.Line]:
    """One line per column of [n, c]; places [n] run from 0 to 1."""
    at, values = plot.thinned(np.asarray(at, dtype=np.float64)), plot.thinned(values)
    return [
        plot.Line(plot.path(at, plot.unit(values[:, index], low, high)), f"c{index}", label)
        for index, label in enumerate(labels)
    ]


def _gaps(at: NDArray[np.float64], valid: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Stretches without a value as (start, length) in 0..1000; a row reaches half-way to its neighbours."""
    if not len(at):
        return [(0.0, plot.WIDTH)]
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]])
    change = np.flatnonzero(np.diff(np.concatenate([[0], ~valid, [0]]).astype(np.int8)))
    return [
        (float(edges[start] * plot.WIDTH), float((edges[stop] - edges[start]) * plot.WIDTH))
        for start, stop in change.reshape(-1, 2).tolist()
    ]


def _scores(data: ReportData, sample: Sample) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Heads and rows of the sample's own scores; 'original' is scored as ground truth."""
    rows = []
    for key in sample.sounds:
        condition = "ground_truth" if key == "original" else key
        row = data.per_clip.get(condition, {}).get(sample.id)
        if row is None:
            continue
        cells = [wording.clip_number(row.get(info.name, {}).get("value"), info) for info in data.metric_info]
        rows.append((wording.condition_label(key), cells))
    return [wording.metric_label(info) for info in data.metric_info], rows
