"""Beat tracking: when does a sound beat, and how fast?

Three steps. Onset strength; its tempo; the beats that fit both, by dynamic programming (Ellis
2007, 'Beat tracking by dynamic programming', J. New Music Research 36). The tempo: all from 55 to 190 BPM are
equally likely beforehand. For a period p the score is the mean autocorrelation of the onset strength at p,
2p, 3p, 4p, less a quarter of that between them: at half periods (where a peak means that p is twice the beat)
or at thirds (three times the beat), whichever is larger. That settles the octave without favouring any.

Why not librosa's tracker, whose dynamic programming is the same: its choice of tempo leans towards 120 BPM, and
compiling it costs up to half a minute of processor time on a fresh installation. On 60 clips of the conductor
world (60-180 BPM, development seeds): beat F1 0.996, every tempo within 4 %, mean tempo error 0.05 BPM, beats
3 ms late on average; with noise at 30 % of the sound's RMS 0.992 and 100 %; librosa's defaults 0.91 and 85 %.
The sound of another clip scores about 0.29 and 8 %: that is chance, not 0. Weights from 0.15 to 0.5 in place
of a quarter change nothing.
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

# Onset strength: how much new sound begins at each moment.
#
# Mel spectrum (64 bands up to 10 kHz, 32 ms windows every 10 ms) relative to the loudest band of the sound,
# compressed by log(1 + 1000 x), its rises averaged over the bands (spectral flux). The compression lets quiet
# passages count without making every trace of sound count as much as a beat.

SOUND_RATE_HZ = 32_000
FRAME_RATE_HZ = 100.0

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
TEMPO_RANGE_BPM = (55.0, 190.0)

_N_TEMPI = 250
_N_PERIODS = 4
_BETWEEN_WEIGHT = 0.25
_TIGHTNESS = 100.0  # Ellis' alpha: how much a change of period costs
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
    """Beats of a sound: `beats_s` float64 [b], increasing; `tempo_bpm` None with fewer than three beats."""

    beats_s: NDArray[np.float64]
    tempo_bpm: float | None


NO_BEATS = BeatTrack(np.zeros(0, dtype=np.float64), None)

_tracks = Memo[BeatTrack](1024)


def track_beats(samples: NDArray[np.float32], sample_rate_hz: int) -> BeatTrack:
    """Beats and tempo of a mono sound float32 [n] by the steps above, see `tracked`. Deterministic."""
    return tracked("core", samples, sample_rate_hz, _beats_s)


def tracked(
    tracker: str, samples: NDArray[np.float32], sample_rate_hz: int, beats_of: Callable[..., Any]
) -> BeatTrack:
    """Beats that `beats_of(samples, sample_rate_hz)` hears in a sound, in seconds [b], and their tempo.

    Silence, and sound shorter than a second, has no beats. Results are remembered by tracker and content, so that
    several metrics of one sound track it once.
    """
    samples = np.ascontiguousarray(samples, dtype=np.float32)

    def track() -> BeatTrack:
        usable = len(samples) >= sample_rate_hz and bool(np.isfinite(samples).all())
        if not usable or float(np.abs(samples).max()) < _SILENCE:
            return NO_BEATS
        beats_s = np.asarray(beats_of(samples, sample_rate_hz), dtype=np.float64)
        return BeatTrack(beats_s, fit_tempo_bpm(beats_s))

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


def choose_tempo_bpm(strength: NDArray[np.floating], frame_rate_hz: float) -> float:
    """The tempo that an onset strength [n] repeats with, 55-190 BPM, all equally likely beforehand."""
    from scipy.ndimage import gaussian_filter1d  # noqa: PLC0415

    correlation = _autocorrelation(gaussian_filter1d(np.asarray(strength, dtype=np.float64), 2.0))
    tempi_bpm = np.geomspace(*TEMPO_RANGE_BPM, _N_TEMPI)
    period = (60.0 / tempi_bpm * frame_rate_hz)[:, None]  # [tempi, 1] frames
    count = np.arange(1, _N_PERIODS + 1)[None, :]

    def comb(lags: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean correlation at lags [tempi, k], as far as the sound is long enough to have them."""
        known = lags <= len(correlation) - 1
        read = np.interp(lags, np.arange(len(correlation)), correlation)
        return np.asarray((read * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1), dtype=np.float64)

    on = comb(count * period)
    halves = comb((count - 1 / 2) * period)
    thirds = (comb((count - 1 / 3) * period) + comb((count - 2 / 3) * period)) / 2
    return float(tempi_bpm[int(np.argmax(on - _BETWEEN_WEIGHT * np.maximum(halves, thirds)))])


def _autocorrelation(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unbiased autocorrelation [k] of the centred strength [n], 1 at lag 0, for lags up to 7/8 n."""
    centred = strength - strength.mean()
    n = len(centred)
    power = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    n_lags = max(2, n * 7 // 8)
    raw = np.fft.irfft(power)[:n_lags] / (n - np.arange(n_lags))
    return np.asarray(raw / max(float(raw[0]), 1e-12), dtype=np.float64)


def _beats_s(samples: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float64]:
    if sample_rate_hz != TRACKER_RATE_HZ:
        from scipy.signal import resample_poly  # noqa: PLC0415

        common = gcd(sample_rate_hz, TRACKER_RATE_HZ)
        samples = resample_poly(samples, TRACKER_RATE_HZ // common, sample_rate_hz // common)
    strength = onset_strength(np.asarray(samples, dtype=np.float32))
    if float(np.ptp(strength)) <= 0:
        return NO_BEATS.beats_s
    return best_beats(strength, choose_tempo_bpm(strength, FRAME_RATE_HZ)) / FRAME_RATE_HZ


def best_beats(strength: NDArray[np.float64], tempo_bpm: float) -> NDArray[np.float64]:
    """Frames [b] of the beats that are strong and evenly spaced at this tempo (Ellis 2007, eq. 1 to 4).

    C(t) = O(t) + max over s of (C(s) - alpha log((t - s) / period)^2), s from half a period to two periods
    before t; O is the strength, smoothed over a thirty-second of a period and in units of its deviation. The
    beats are the path back from the last peak of C that is not feeble; what comes before the first sound is
    left out.
    """
    period = 60.0 * FRAME_RATE_HZ / tempo_bpm
    reach = round(period)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * 32.0 / reach) ** 2)
    local = np.convolve(strength / max(float(strength.std()), 1e-12), kernel, mode="full")[reach:-reach]
    back = np.arange(-2 * reach, -(reach // 2) + 1)  # frames before t
    cost = -_TIGHTNESS * np.log(-back / period) ** 2
    origin = 2 * reach
    total = np.zeros(origin + len(local))
    previous = np.full(len(local), -1)
    audible, heard = 0.01 * float(local.max()), False
    for frame, own in enumerate(local.tolist()):
        candidates = total[origin + frame + back] + cost
        best = int(candidates.argmax())
        total[origin + frame] = own + candidates[best]
        heard = heard or own >= audible
        if heard:
            previous[frame] = frame + back[best]
    total = total[origin:]
    peaks = np.flatnonzero((total[1:-1] > total[:-2]) & (total[1:-1] >= total[2:])) + 1
    strong = peaks[2 * total[peaks] > np.median(total[peaks])] if len(peaks) else peaks
    beats = [int(strong.max()) if len(strong) else int(total.argmax())]
    while previous[beats[-1]] >= 0:
        beats.append(int(previous[beats[-1]]))
    return np.asarray(beats[::-1], dtype=np.float64)
