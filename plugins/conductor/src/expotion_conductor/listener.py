"""A captioner that listens: which instrument plays and in which mood, from the sound alone, as a sentence.

When it is built it hears `N_PIECES` pieces of the world, of the encoders' training, on which no adaptor is trained
or tested, and fits two ridge regressions from the levels in 48 bands to instrument and mood. On 120 others it names
97% of the instruments and 99% of the moods (benchmarks/listener.py). There is no file of weights.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion.contracts import CaptionerSpec, Options
from expotion.errors import ExpotionError, Problem
from expotion_conductor.plan import ENCODER_SEEDS, MOODS, TIMBRES, make_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from expotion.contracts import Clip

N_PIECES = 240
PIECE_S = 10.0
SOUND_RATE_HZ = 32_000
RIDGE = 50.0
_WINDOW, _HOP, _CHUNK = 2048, 1024, 512
_BANDS_HZ = (60.0, 14_000.0)
_N_BANDS = 48
_QUIETEST = 25  # per cent of frames that are left out


class Listener:
    """Names instrument and mood of a sound."""

    def __init__(self, n_pieces: int = N_PIECES) -> None:
        from expotion_conductor.music import render_music  # noqa: PLC0415 - only where it is built

        plans = [make_plan(ENCODER_SEEDS + i, PIECE_S) for i in range(n_pieces)]
        heard = np.stack([_levels(np.asarray(render_music(plan))) for plan in plans])
        self._mean, self._scale = heard.mean(axis=0), heard.std(axis=0) + 1e-6
        inputs = self._inputs(heard)
        square = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
        targets = [
            np.eye(len(words))[[words.index(word) for word in said]]
            for words, said in ((TIMBRES, [p.timbre for p in plans]), (MOODS, [p.mood for p in plans]))
        ]
        self._weights = [np.linalg.solve(square, inputs.T @ target) for target in targets]

    def hear(self, samples: NDArray[np.float32]) -> tuple[str, str]:
        """(instrument, mood) of mono samples float32 [n] at 32 kHz."""
        inputs = self._inputs(_levels(samples)[None])
        timbre, mood = (int((inputs @ weights).argmax()) for weights in self._weights)
        return TIMBRES[timbre], MOODS[mood]

    def __call__(self, clip: Clip) -> str:
        """A caption of the clip's sound. Raises ExpotionError for a clip without one."""
        samples = clip.audio(SOUND_RATE_HZ)
        if samples is None or len(samples) < _WINDOW:
            raise ExpotionError(Problem(clip.id, "a sound to listen to", "none"))
        timbre, mood = self.hear(samples)
        return f"a {mood} piece played on {timbre}"

    def _inputs(self, heard: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([(heard - self._mean) / self._scale, np.ones((len(heard), 1))], axis=1)


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """How loud each band is, relative to the frame, over the louder frames: three quantiles and the deviation."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window, bands = np.hanning(_WINDOW), _bands()
    power = np.concatenate(
        [np.abs(np.fft.rfft(frames[at : at + _CHUNK] * window)) ** 2 for at in range(0, len(frames), _CHUNK)]
    )
    total = power.sum(axis=1)
    loud = total >= np.percentile(total, _QUIETEST)
    shares = np.log(power[loud] @ bands.T / np.maximum(total[loud, None], 1e-12) + 1e-6)
    return np.concatenate([np.percentile(shares, [20, 50, 80], axis=0).ravel(), shares.std(axis=0)])


@lru_cache(maxsize=1)
def _bands() -> NDArray[np.float64]:
    """Bands of equal width in octaves, float64 [bands, bins]; those between two bins are left out."""
    bins_hz = np.fft.rfftfreq(_WINDOW, 1 / SOUND_RATE_HZ)
    edges = np.geomspace(*_BANDS_HZ, _N_BANDS + 1)
    found = np.stack([(bins_hz >= low) & (bins_hz < high) for low, high in pairwise(edges)]).astype(np.float64)
    return np.asarray(found[found.sum(axis=1) > 0])


def _build(options: Any) -> Callable[[Clip], str]:
    del options
    return Listener()


SPEC = CaptionerSpec(
    name="conductor_listener",
    description="instrument and mood of the world's music by listening to it; needs no weights",
    build=_build,
    options=Options,
)
