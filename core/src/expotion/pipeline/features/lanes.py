"""A track as pictures: heat maps of its channels, principal components, stretches without anything valid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import SmoothedTrack, TimedFeatures
from expotion.report.media import data_uri

MOST_CHANNELS = 48
MOST_COLUMNS = 1500
N_COMPONENTS = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lane:
    """Views of one control. Heat maps are PNG data URIs; curves are SVG paths in a box of 1000 x 100."""

    native: str
    smoothed: str
    native_curves: list[str]
    curves: list[str]
    explained: list[float]
    gaps: list[tuple[float, float]]
    channels: int


def lane(track: TimedFeatures, smoothed: SmoothedTrack, rate_hz: float, duration_s: float) -> Lane:
    """Views of a native track and the same track smoothed; `gaps` are percent of the clip's length."""
    columns = min(MOST_COLUMNS, len(smoothed.values))
    at_s = (np.arange(columns) + 0.5) * duration_s / columns
    known = (
        track.values[track.valid] if track.valid.any() else np.zeros((1, track.values.shape[1]), np.float32)
    )
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
    points = (track.values - mean) @ axes[:k].T
    limit = np.maximum(np.abs(rows[smoothed.valid]).max(axis=0), 1e-9) if smoothed.valid.any() else np.ones(k)
    rows_s = np.arange(len(rows)) / rate_hz
    return Lane(
        native="" if nearest is None else heat(track.values, track.valid, nearest),
        smoothed=heat(smoothed.values, smoothed.valid, step),
        native_curves=[
            _dots(track.times_s / duration_s, points[:, j] / limit[j], track.valid) for j in range(k)
        ],
        curves=[_line(rows_s / duration_s, rows[:, j] / limit[j], smoothed.valid) for j in range(k)],
        explained=[float(share) for share in energy[:k]],
        gaps=_gaps(smoothed.valid, rate_hz, duration_s),
        channels=track.values.shape[1],
    )


def _png(grey: Floats, valid: NDArray[np.bool_]) -> str:
    import cv2  # noqa: PLC0415

    coloured = cv2.applyColorMap((grey * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    alpha = np.broadcast_to(np.where(valid, 255, 0).astype(np.uint8), grey.shape)
    _, png = cv2.imencode(".png", np.dstack([coloured, alpha]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data_uri(png.tobytes(), "image/png")


def _line(x: Floats, y: Floats, valid: NDArray[np.bool_]) -> str:
    """A path through valid points, broken where there are none; at most MOST_COLUMNS points."""
    parts, pen = [], "M"
    for i in range(0, len(x), max(1, len(x) // MOST_COLUMNS)):
        if not valid[i]:
            pen = "M"
            continue
        parts.append(f"{pen}{1000 * x[i]:.1f} {50 - 46 * np.clip(y[i], -1.05, 1.05):.1f}")
        pen = "L"
    return "".join(parts)


def _dots(x: Floats, y: Floats, valid: NDArray[np.bool_]) -> str:
    """Points of no length, drawn by round line caps."""
    keep = np.flatnonzero(valid)[:: max(1, int(valid.sum()) // MOST_COLUMNS)]
    return "".join(f"M{1000 * x[i]:.1f} {50 - 46 * np.clip(y[i], -1.05, 1.05):.1f}h0" for i in keep)


def _gaps(valid: NDArray[np.bool_], rate_hz: float, duration_s: float) -> list[tuple[float, float]]:
    edges = np.diff(np.concatenate([[0], (~valid).astype(np.int8), [0]]))
    return [
        (100 * a / rate_hz / duration_s, min(100.0, 100 * b / rate_hz / duration_s))
        for a, b in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0), strict=True)
    ]
