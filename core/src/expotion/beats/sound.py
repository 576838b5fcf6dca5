"""Beat tracking of sound: when does it beat, and how fast?

Onset strength (mel flux) smoothed over 20 ms is the activation, `follow.py` the tracker. Why not librosa's: its
choice of tempo leans towards 120 BPM, it holds one tempo for the whole sound, and compiling it costs up to half a
minute of processor time on a fresh installation.

On 60 clips of the conductor world (60-180 BPM, development seeds 5,000,300 to 5,000,359; F1 with 70 ms): 0.998,
every tempo within 0.2 %, beats 6 ms late on average; mir_eval's Cemgil 0.978, Goto 1, P-score 0.995, continuity
0.995 at the right level and 0.995 at any, information gain 0.91. The same music on beats between 15 % slower and
15 % faster and back, four to eight beats each way: 0.997, Cemgil 0.970, Goto 1, P-score 0.997, continuity 0.997,
information gain 0.79; the tracker with one tempo that was here before: 0.998 and 0.903. The sound of another clip
scores about 0.29: that is chance, not 0.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from expotion.beats.follow import follow

# Onset strength: how much new sound begins at each moment.
#
# Mel spectrum (64 bands up to 10 kHz, 32 ms windows every 10 ms) relative to the loudest band of the sound,
# compressed by log(1 + 1000 x), its rises averaged over the bands (spectral flux). The compression lets quiet
# passages count without making every trace of sound count as much as a beat.

SOUND_RATE_HZ = 32_000
_HOP = 320
_WINDOW = 1024
_N_BANDS = 64
_BANDS_HZ = (30.0, 10_000.0)
_COMPRESSION = 1000.0
_CHUNK = 4096  # frames at once, so that long sounds need little memory


def onset_strength(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Onset strength of a mono sound float32 [n] at 32 kHz: float64 [1 + n // 320], frame k at k / 100 s."""
    padded = np.pad(samples, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW + 1)[:-1]
    bands = _mel_bands().T
    power = np.concatenate(
        [
            np.abs(np.fft.rfft(frames[start : start + _CHUNK] * window)) ** 2 @ bands
            for start in range(0, len(frames), _CHUNK)
        ]
    )  # [frames, bands]
    loud = np.log1p(_COMPRESSION * power / max(float(power.max()), 1e-20))
    rise = np.maximum(np.diff(loud, axis=0, prepend=loud[:1]), 0.0)
    return np.asarray(rise.mean(axis=1), dtype=np.float64)


@cache
def _mel_bands() -> NDArray[np.float64]:
    """Triangular mel bands that sum to 1: float64 [bands, bins]. Bands between two bins are left out."""
    low, high = (2595.0 * np.log10(1.0 + edge / 700.0) for edge in _BANDS_HZ)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, _N_BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(_WINDOW // 2 + 1) * SOUND_RATE_HZ / _WINDOW
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(np.minimum(rising, falling), 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    kept = sums[:, 0] > 0
    return np.asarray(weights[kept] / sums[kept], dtype=np.float64)


TRACKER_RATE_HZ = SOUND_RATE_HZ
TRACKER = "core's own tracker, version 2"
_SMOOTHING_FRAMES = 2.0
_SILENCE = 1e-5  # peak amplitude (-100 dB full scale)
Result = TypeVar("Result")


class Memo(Generic[Result]):
    """The last `size` results by key, for several threads."""

    def __init__(self, size: int) -> None:
        self._size, self._kept, self._lock = size, OrderedDict[str, Result](), threading.Lock()

    def get(self, key: str, compute: Callable[[], Result]) -> Result:
        """What is kept under a key, else what `compute` gives, which is kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = compute()
        with self._lock:
            self._kept[key] = found
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return found


@dataclass(frozen=True)
class BeatTrack:
    """Beats of a sound: `beats_s` float64 [b], increasing; `tempo_bpm` None with fewer than three beats.

    `certainty` says in 0..1 whether it beats at all: below a half it does not, and `beats_s` are the best guess all
    the same. None where the tracker does not say.
    """

    beats_s: NDArray[np.float64]
    tempo_bpm: float | None
    certainty: float | None = None


NO_BEATS = BeatTrack(np.zeros(0, dtype=np.float64), None, 0.0)

_tracks = Memo[BeatTrack](1024)


def track_beats(samples: NDArray[np.float32], sample_rate_hz: int) -> BeatTrack:
    """Beats, tempo and certainty of a mono sound float32 [n] by core's tracker, see `tracked`. Deterministic."""
    return tracked("core", samples, sample_rate_hz, _heard)


def tracked(
    tracker: str,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    beats_of: Callable[..., tuple[Any, float | None]],
) -> BeatTrack:
    """What `beats_of(samples, sample_rate_hz)` hears in a sound, (seconds [b], certainty or None), and its tempo.

    Silence, and sound shorter than a second, has no beats. Results are remembered by tracker and content, so that
    several metrics of one sound track it once.
    """
    samples = np.ascontiguousarray(samples, dtype=np.float32)

    def track() -> BeatTrack:
        usable = len(samples) >= sample_rate_hz and bool(np.isfinite(samples).all())
        if not usable or float(np.abs(samples).max()) < _SILENCE:
            return NO_BEATS
        found, certainty = beats_of(samples, sample_rate_hz)
        beats_s = np.asarray(found, dtype=np.float64)
        return BeatTrack(beats_s, fit_tempo_bpm(beats_s), certainty)

    return _tracks.get(f"{tracker}:{sample_rate_hz}:{hashlib.sha256(samples.data).hexdigest()}", track)


def fit_tempo_bpm(beats_s: NDArray[np.float64]) -> float | None:
    """Tempo of beats [b]: the median interval numbers them, a straight line through them gives the period.

    The line uses every beat, so one that is 10 ms off moves the tempo of a 10 s clip by about 0.1 %. A
    missing beat leaves a gap in the numbering and does no harm. None with fewer than three beats.
    """
    if len(beats_s) < 3:
        return None
    interval_s = float(np.median(np.diff(beats_s)))
    if interval_s <= 0:
        return None
    number = np.cumsum(np.concatenate([[0.0], np.round(np.diff(beats_s) / interval_s)]))
    centred = number - number.mean()
    spread = float(centred @ centred)
    period_s = float(centred @ beats_s) / spread if spread > 0 else interval_s
    return 60.0 / period_s


def _heard(samples: NDArray[np.float32], sample_rate_hz: int) -> tuple[NDArray[np.float64], float]:
    from scipy.ndimage import gaussian_filter1d  # noqa: PLC0415

    if sample_rate_hz != TRACKER_RATE_HZ:
        from scipy.signal import resample_poly  # noqa: PLC0415

        common = gcd(sample_rate_hz, TRACKER_RATE_HZ)
        samples = resample_poly(samples, TRACKER_RATE_HZ // common, sample_rate_hz // common)
    strength = onset_strength(np.asarray(samples, dtype=np.float32))
    found = follow(gaussian_filter1d(strength, _SMOOTHING_FRAMES))
    return found.beats_s, found.overall
