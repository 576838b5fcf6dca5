"""Music against movement, without labels: do its beats fall on the events, does its level follow the energy?

Alignment is `events.alignment` of the beats that core's tracker hears. Level and density are read every 0.1 s over
0.5 s: the sound's level in dB and its mean onset strength, against the logarithm of the movement's energy; both as
a correlation. A sound with more beats aligns better with anything: values mean something beside those of other
people's videos (`benchmarks/people.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expotion.beats import FRAME_RATE_HZ, TRACKER, TRACKER_RATE_HZ, onset_strength, track_beats
from expotion.contracts import Clip, MetricSpec, Score, Scored, Truth, Weights
from expotion_person_landmarks.events import Floats, Movement, alignment, movement
from expotion_person_landmarks.follow import Who, landmarks_of
from expotion_person_landmarks.landmarks import LEFT_SHOULDER, LEFT_WRIST, N_POSE, NOSE, RIGHT_SHOULDER, RIGHT_WRIST

STEP_S, WINDOW_S = 0.1, 0.5
_TRUE_NAMES = {
    NOSE: "nose",
    LEFT_SHOULDER: "left_shoulder",
    RIGHT_SHOULDER: "right_shoulder",
    LEFT_WRIST: "left_wrist",
    RIGHT_WRIST: "right_wrist",
}
_SILENT_DB = -80.0
_STILL_ENERGY = 1e-3  # (shoulder widths per second)^2: what counts as nothing


def movement_of(clip: Clip, who: Who = "largest") -> Movement:
    """The movement of a clip's person, from MediaPipe's landmarks."""
    found = landmarks_of(clip, "pose", who)
    return movement(found.points, found.times_s, clip.duration_s)


def true_movement(truth: Truth, duration_s: float) -> Movement:
    """The movement of landmarks that a world knows, at the times of its frames; those outside it are not seen.

    Raises KeyError for a truth without the landmarks that count.
    """
    places, seen = truth.landmarks or {}, truth.visible or {}
    times_s = truth.intensity_times_s if truth.landmark_times_s is None else truth.landmark_times_s
    points = np.zeros((len(times_s), N_POSE, 3))
    for number, name in _TRUE_NAMES.items():
        points[:, number, :2] = places[name]
        points[:, number, 2] = seen.get(name, 1.0)
    return movement(points, times_s, duration_s)


def energy_db(moves: Movement) -> Floats:
    """Movement energy by `STEP_S`, ten times its logarithm [k]; NaN where the shoulders are not known."""
    known = _windows(moves.known.astype(np.float64), FRAME_RATE_HZ)
    energy = _windows(moves.energy, FRAME_RATE_HZ)
    return np.where(known >= 0.5, 10 * np.log10(np.maximum(energy, _STILL_ENERGY)), np.nan)


def level_db(samples: NDArray[np.float32], sample_rate_hz: int) -> Floats:
    """The sound's level by `STEP_S` in dB [k]."""
    power = _windows(np.asarray(samples, dtype=np.float64) ** 2, sample_rate_hz)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (_SILENT_DB / 10))))


def density(samples: NDArray[np.float32]) -> Floats:
    """Mean onset strength of a sound at 32 kHz by `STEP_S` [k]."""
    return _windows(onset_strength(samples), FRAME_RATE_HZ)


def _windows(values: Floats, rate_hz: float) -> Floats:
    """Means over `WINDOW_S` around 0, STEP_S, 2 STEP_S .. as far as the values go."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    middle = np.arange(0.0, len(values) / rate_hz, STEP_S) * rate_hz
    half = WINDOW_S / 2 * rate_hz
    start, end = (np.clip(np.round(at).astype(int), 0, len(values)) for at in (middle - half, middle + half))
    return np.asarray((sums[end] - sums[start]) / np.maximum(end - start, 1))


def correlation(movement_db: Floats, sound: Floats) -> float | None:
    """Pearson's correlation over what both have; None where one never changes or less than 2 s are known."""
    n = min(len(movement_db), len(sound))
    known = np.isfinite(movement_db[:n])
    a, b = movement_db[:n][known], sound[:n][known]
    if len(a) * STEP_S < 2.0 or np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _build_alignment() -> Callable[[Scored], Score]:
    def score(scored: Scored) -> Score:
        moves = movement_of(scored.clip)
        events_s = moves.events_s[moves.events_s <= len(scored.samples) / scored.sample_rate_hz]
        value = alignment(events_s, track_beats(scored.samples, scored.sample_rate_hz).beats_s)
        return Score(value, "no movement events: nobody is seen, or nobody moves" if value is None else None)

    return score


def _build_level() -> Callable[[Scored], Score]:
    def score(scored: Scored) -> Score:
        energy = energy_db(movement_of(scored.clip))
        value = correlation(energy, level_db(scored.samples, scored.sample_rate_hz))
        return Score(value, "movement or level never changes, or nobody is seen" if value is None else None)

    return score


def specs(weights: Weights) -> list[MetricSpec]:
    """The two metrics, which need the models' files."""
    return [
        MetricSpec(
            name="movement_alignment",
            description="how near a beat of the output is to each movement event of the person, sigma 50 ms",
            build=_build_alignment,
            higher_is_better=True,
            needs=frozenset({"video"}),
            weights=(weights,),
            sample_rate_hz=TRACKER_RATE_HZ,
            source="Li et al. 2021 (formula); braking of downward movement of MediaPipe's landmarks",
            not_comparable_with="beat_alignment, whose events are the flow's; another tracker",
            measured_with=lambda: f"beats tracked by {TRACKER}",
            label="Movement alignment",
            claim="The music falls on the person's movement",
            thing="alignment with the person's movement",
        ),
        MetricSpec(
            name="movement_level",
            description="correlation of the output's level with the person's movement energy, 10 Hz, 0.5 s",
            build=_build_level,
            higher_is_better=True,
            needs=frozenset({"video"}),
            weights=(weights,),
            not_comparable_with="intensity_correlation; other smoothing",
            label="Movement and level",
            claim="The music is loud where the person moves much",
            thing="how level follows movement",
        ),
    ]
