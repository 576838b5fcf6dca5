"""Follow a beat whose tempo may change: from an activation at 100 Hz to beats, phase, tempo and certainty.

An activation says how much happens at each moment: onset strength of a sound, braking of a movement. The path of
beats t_1 < t_2 < .. that wins is found by dynamic programming over pairs (beat t, period p that led to it):

    C(t, p) = sqrt(p / 0.6 s) o(t) + max over p' of [C(t - p, p') - 60 log(p / p')^2]

o is the activation to the power of 0.7, centred and in units of its deviation, so that it is the same at every
level. The root of the period settles the octave without a favourite tempo: a path twice as fast gains where what
happens between the beats is at least 0.41 of what happens on them, one half as fast where every second beat is
less than that. Without the root fast paths would gain by having more beats; with the period itself, slow ones by
leaving some out. A change of period costs its squared logarithm: 7.5 % from one beat to the next, as where the
tempo goes from -15 % to +15 % within four beats, costs a third of a deviation. Periods are whole frames, 55 to 190
beats per minute. This is Ellis' search (2007, 'Beat tracking by dynamic programming', J. New Music Research 36)
with the period as a state.

Certainty comes from what the path gains per frame of ten seconds: 0.022 in the median where the intervals between
events are random and 0.024 in nine of ten, 0.025 in white noise, 0.032 where people's beats were simulated (30 ms
off, one of eight missing, others between), more in the conductor world's music. The logistic curve around 0.0276
makes it a number in 0..1; below a half there is no beat. Of less sound the best of many paths gains more by
chance: 3.5 / n of n frames, which is taken off. Settings were chosen on development seeds; `sound.py` has the
results.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAME_RATE_HZ = 100.0
TEMPO_RANGE_BPM = (55.0, 190.0)
LEAST_CERTAINTY = 0.5
"""Below it there is no beat."""

_CHANGE_COST = 60.0
_POWER = 0.7
_USUAL_PERIOD = 60.0  # frames
_GAIN_OF_DOUBT, _GAIN_OF_CHOICE, _GAIN_SPREAD = 0.0241, 3.5, 0.001
_WINDOW = 800  # frames over which certainty is told
_NOTHING = 1e-12
_EVERY, _LEAST, _SETTLING = 25, 200, 8  # frames: between a follower's searches, before the first, to trust a beat
_SOFT = 0.01  # of the greatest activation: nothing happens below it
_EARLY = 5  # frames that a beat may stand before the first thing that happens, or after the last

_PERIODS = np.arange(
    int(np.ceil(60 * FRAME_RATE_HZ / TEMPO_RANGE_BPM[1])), int(60 * FRAME_RATE_HZ / TEMPO_RANGE_BPM[0]) + 1
)
_LONGEST = int(_PERIODS[-1])
_COST = _CHANGE_COST * np.log(_PERIODS[:, None] / _PERIODS[None, :]) ** 2  # [period, the one before]
_WEIGHTS = np.sqrt(_PERIODS / _USUAL_PERIOD)


@dataclass(frozen=True)
class Followed:
    """The beat of an activation [n] at 100 Hz.

    `beats_s` float64 [b] increases, in seconds from the first frame. `phase` float64 [n] is 0 at a beat and rises
    to 1 at the next, `tempo_bpm` float64 [n] is the local tempo, `certainty` float64 [n] in 0..1 that of the eight
    seconds around; the three go on where `beats_s` stops because nothing happens any more. `overall` is the
    certainty of the whole.
    """

    beats_s: NDArray[np.float64]
    phase: NDArray[np.float64]
    tempo_bpm: NDArray[np.float64]
    certainty: NDArray[np.float64]
    overall: float

    @property
    def has_beat(self) -> bool:
        """Whether there is a beat at all."""
        return self.overall >= LEAST_CERTAINTY


def follow(activation: NDArray[np.floating]) -> Followed:
    """The beat of a whole activation [n] at 100 Hz, at least 0 everywhere. Deterministic; 25 ms for ten seconds."""
    level = np.maximum(np.asarray(activation, dtype=np.float64), 0.0) ** _POWER
    n, spread = len(level), float(level.std()) if len(level) else 0.0
    if spread <= _NOTHING:
        return Followed(np.zeros(0), np.zeros(n), np.zeros(n), np.zeros(n), 0.0)
    beats, periods, gained = _best_path((level - level.mean()) / spread)
    heard = np.flatnonzero(level >= _SOFT**_POWER * level.max())
    kept = beats[(beats >= heard[0] - _EARLY) & (beats <= heard[-1] + _EARLY)]
    # Beats all over: one period before the first and two after the last.
    edges = np.concatenate([[beats[0] - periods[0]], beats, beats[-1] + periods[-1] * np.arange(1, 3)])
    frames = np.arange(n)
    which = np.clip(np.searchsorted(edges, frames, side="right") - 1, 0, len(edges) - 2)
    period = np.diff(edges)[which].astype(np.float64)
    ends = np.clip(frames[:, None] + [-_WINDOW // 2, _WINDOW // 2], -1, n - 1)
    gains = np.interp(ends, [-1, *beats], [0.0, *gained])
    return Followed(
        beats_s=kept / FRAME_RATE_HZ,
        phase=(frames - edges[which]) / period % 1.0,
        tempo_bpm=60.0 * FRAME_RATE_HZ / period,
        certainty=_certainty((gains[:, 1] - gains[:, 0]) / (ends[:, 1] - ends[:, 0]), min(n, _WINDOW)),
        overall=float(_certainty(gained[-1] / n, n)),
    )


def _best_path(o: NDArray[np.float64]) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.float64]]:
    """Frames [b] of the best path's beats through o [n], the periods before them [b], and C there [b]."""
    n, columns = len(o), np.arange(len(_PERIODS))
    total = np.empty((n, len(_PERIODS)))
    onward = np.zeros((_LONGEST + n, len(_PERIODS)))  # the best total for a period that follows; before the start 0
    choice = np.empty((n, len(_PERIODS)), dtype=np.uint8)
    for frame, own in enumerate(o.tolist()):
        total[frame] = own * _WEIGHTS + onward[frame + _LONGEST - _PERIODS, columns]
        reached = total[frame] - _COST
        choice[frame] = reached.argmax(axis=1)
        onward[_LONGEST + frame] = reached[columns, choice[frame]]
    open_ = np.arange(n)[:, None] + _PERIODS > n - 1  # paths whose next beat is yet to come
    frame, column = (int(k) for k in np.unravel_index(np.where(open_, total, -np.inf).argmax(), total.shape))
    path = [(frame, column)]
    while (frame := frame - int(_PERIODS[column])) >= 0:
        column = int(choice[frame, column])
        path.append((frame, column))
    beats, taken = np.array(path[::-1]).T
    return beats, _PERIODS[taken], total[beats, taken]


def _certainty(gain: NDArray[np.float64] | float, n: int) -> NDArray[np.float64]:
    """0..1 from the gain per frame [..] of the best path through n frames."""
    doubt = _GAIN_OF_DOUBT + _GAIN_OF_CHOICE / n
    return np.asarray(1.0 / (1.0 + np.exp(np.minimum((doubt - np.asarray(gain)) / _GAIN_SPREAD, 500.0))))


class Follower:
    """The beat of an activation that arrives frame by frame, from what has arrived: for live use.

    Every quarter of a second the last eight seconds are searched anew (20 ms); between, the beat is foreseen from
    the last beat that is at least 0.08 s old and the periods before it, each weighing a third of the next. So a
    beat is told when its time comes, without a delay of its own (that of the activation remains), and corrected at
    most 0.33 s later. Nothing is told in the first two seconds.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._n = 0
        self._beat, self._period, self._certainty = 0.0, 0.0, 0.0

    def push(self, activation: float) -> tuple[float, float, float]:
        """Take the activation of the next frame; (phase, tempo in BPM, certainty) there, zeros without a beat."""
        self._recent.append(activation)
        self._n += 1
        if self._n % _EVERY == 0 and self._n >= _LEAST:
            self._search()
        if not self._period:
            return 0.0, 0.0, 0.0
        phase = (self._n - 1 - self._beat) / self._period % 1.0
        return phase, 60.0 * FRAME_RATE_HZ / self._period, self._certainty

    def _search(self) -> None:
        found = follow(np.array(self._recent))
        beats = found.beats_s * FRAME_RATE_HZ
        beats = beats[beats <= len(self._recent) - 1 - _SETTLING]
        if len(beats) < 3:
            self._period = self._certainty = 0.0
            return
        periods = np.diff(beats)[::-1][:4]
        self._period = float(np.average(periods, weights=0.3 ** np.arange(len(periods))))
        self._beat = float(beats[-1]) + self._n - len(self._recent)
        self._certainty = found.overall
