"""Movement events: the moments at which downward movement of head, shoulders and hands is stopped.

Paths of five landmarks (nose, shoulders, wrists) by local quadratic regression (`smoothing.py`), in units of the
shoulders' median width, so that neither size nor distance matters. The braking of a landmark is its upward
acceleration while it moves down; the sum over the landmarks that are seen, at 100 Hz, has a peak where a hand
lands, the head nods or the shoulders drop. Peaks count from a prominence of 1.5 standard deviations, 0.2 s apart.
It needs landmarks only, [n, 33, 2 or 3] in MediaPipe's order, wherever they are from: nothing here belongs to an
encoder. Prominence, window and the test of regularity were settled with four webcam clips in view
(docs/results.md). What a flow of pixels calls a motion beat (the metric `beat_alignment`) is another definition.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from expotion.beats import FRAME_RATE_HZ
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_SHOULDER, RIGHT_WRIST, SEEN
from expotion_person_landmarks.smoothing import smooth_path

Floats = NDArray[np.float64]

POINTS = (NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST)
SIGMA_S = 0.05
"""Of an alignment: how far a beat may be from an event."""
BEATS_P = 0.01
"""Movement whose regularity random order reaches more seldom than this beats time."""

_PROMINENCE, _PIECE_PROMINENCE = 1.5, 0.5  # of the curve's deviation: of an event; of a peak to cut before
_MIN_DISTANCE_S = 0.2  # 300 events per minute
_STILL = 0.5  # shoulder widths per second squared: a curve that never reaches it has no events
WINDOW_S = 0.05  # of the regression
EDGE_S = 0.06  # at both ends of the picture, where acceleration is not known yet
_ORDERS = 999
_TEMPI_HZ = np.linspace(0.9, 2.5, 81)
_POWER = 0.7


@dataclass(frozen=True)
class Movement:
    """What a person's landmarks do, at 100 Hz from 0 s: row i at i / 100 s.

    `braking` [n] in shoulder widths per second squared, summed over the landmarks; `energy` [n] their summed
    squared speed, (shoulder widths per second)^2; `known` [n] where both shoulders are seen. `events_s` [e] and
    their heights `strength` [e].
    """

    braking: Floats
    energy: Floats
    known: NDArray[np.bool_]
    events_s: Floats
    strength: Floats


def movement(points: NDArray[np.floating], times_s: Floats, duration_s: float) -> Movement:
    """Movement of landmarks [n, 33, 2 or 3] (pixels, and visibility in 0..1) at `times_s` [n]."""
    at_s = np.arange(int(duration_s * FRAME_RATE_HZ) + 1) / FRAME_RATE_HZ
    points = np.asarray(points, dtype=np.float64)
    seen = points[..., 2] >= SEEN if points.shape[-1] == 3 else np.isfinite(points).all(axis=-1)
    nothing = np.zeros(len(at_s))
    both = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER] if len(points) else np.zeros(0, dtype=bool)
    if not both.any():
        return made_of(nothing, nothing, np.zeros(len(at_s), dtype=bool))
    across = points[both, LEFT_SHOULDER, :2] - points[both, RIGHT_SHOULDER, :2]
    unit = max(float(np.median(np.hypot(across[:, 0], across[:, 1]))), 1e-6)
    inside = (at_s >= times_s[0] + EDGE_S) & (at_s <= times_s[-1] - EDGE_S)
    braking, energy, known = nothing.copy(), nothing.copy(), inside
    for number in POINTS:
        places = np.where(seen[:, number, None], points[:, number, :2], 0.0) / unit
        _, speed, change, is_known = smooth_path(
            times_s, places, seen[:, number].astype(np.float64), at_s, sigma_s=WINDOW_S
        )
        braking += np.where(inside & is_known & (speed[:, 1] > 0), np.maximum(-change[:, 1], 0.0), 0.0)
        energy += np.where(inside & is_known, (speed**2).sum(axis=1), 0.0)
        known = known & (is_known | (number not in (LEFT_SHOULDER, RIGHT_SHOULDER)))
    return made_of(braking, energy, known)


def made_of(braking: Floats, energy: Floats, known: NDArray[np.bool_]) -> Movement:
    """A movement with its events, from what is known of it at 100 Hz [n] each."""
    peaks = _peaks(braking, _PROMINENCE)
    return Movement(braking, energy, known, peaks / FRAME_RATE_HZ, braking[peaks])


def _peaks(braking: Floats, prominence: float) -> NDArray[np.int_]:
    from scipy.signal import find_peaks  # noqa: PLC0415

    spread = float(braking.std())
    if spread <= 0 or float(braking.max()) < _STILL:
        return np.zeros(0, dtype=np.int_)
    distance = round(_MIN_DISTANCE_S * FRAME_RATE_HZ)
    return np.asarray(find_peaks(braking, prominence=prominence * spread, distance=distance)[0])


def alignment(events_s: Floats, beats_s: Floats) -> float | None:
    """How near the next beat is to each event: the mean of exp(-d^2 / (2 sigma^2)), 0..1; None without events.

    The formula of Li et al. 2021, 'AI Choreographer', as in `beat_alignment`. 0 without beats.
    """
    if not len(events_s):
        return None
    if not len(beats_s):
        return 0.0
    nearest_s = np.abs(events_s[:, None] - beats_s[None, :]).min(axis=1)
    return float(np.exp(-(nearest_s**2) / (2 * SIGMA_S**2)).mean())


def chance_of_regularity(moves: Movement) -> float:
    """How often the same intervals in random order are more regular than the movement: 0..1, small if it beats.

    The braking is cut at its lowest between peaks, small ones too; the pieces, each an interval with what happens
    in it, are put together in 999 random orders (seeded). Regularity is the share of the curve (to the power of
    0.7, centred) in its strongest frequency between 0.9 and 2.5 Hz. Orders count that are more regular than the
    truth: of a metronome's none is. 1 with fewer than five peaks.
    """
    known = np.flatnonzero(moves.known)
    curve = moves.braking[known[0] : known[-1] + 1] if len(known) else np.zeros(0)
    peaks = _peaks(curve, _PIECE_PROMINENCE) if len(curve) else known
    if len(peaks) < 5:
        return 1.0
    cuts = [a + int(curve[a:b].argmin()) for a, b in pairwise(peaks)]
    level = curve**_POWER
    pieces = np.split(level - level.mean(), cuts)
    starts, lengths = np.array([0, *cuts]), np.array([len(piece) for piece in pieces])
    waves = np.exp(-2j * np.pi * _TEMPI_HZ[:, None] * np.arange(len(curve)) / FRAME_RATE_HZ)
    # What a piece adds to each frequency where it stands; elsewhere that turns by the way it has gone.
    adds = np.stack([waves[:, s : s + n] @ piece for s, n, piece in zip(starts, lengths, pieces, strict=True)])
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(len(pieces)) for _ in range(_ORDERS)])
    way = np.cumsum(lengths[orders], axis=1) - lengths[orders] - starts[orders]  # frames
    turns = np.exp(-2j * np.pi * _TEMPI_HZ * way[..., None] / FRAME_RATE_HZ)
    random = np.abs((adds[orders] * turns).sum(axis=1)).max(axis=1)
    true = float(np.abs(adds.sum(axis=0)).max())
    return float((1 + (random > true * (1 + 1e-9)).sum()) / (1 + _ORDERS))
