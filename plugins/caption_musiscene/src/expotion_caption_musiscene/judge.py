"""What is true of a sound, by ears that write no captions: its tempo class, its mood and its instruments.

The tempo is that of core's beat tracker, for any music. Mood and instruments are ridge regressions from how the
bands of the log-mel spectrum are filled, fitted on pieces of the world (`train/judge.py`, seeds of the
encoders' training) and kept in `weights/judge.npz`: they know the world's music and no other. How often each is
right on pieces that it was not fitted on stands in that file and is told with every result.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion.beats import track_beats
from expotion_caption_musiscene.mel import SOUND_RATE_HZ, WINDOW, log_mel
from expotion_caption_musiscene.words import Claim

WEIGHTS = Path(__file__).parent / "weights" / "judge.npz"
SLOW_BELOW_BPM, FAST_FROM_BPM = 90.0, 125.0
LEAST_BEATS = 4
LIKELY = 0.5
QUIETEST_PERCENT = 25.0
SILENCE = 1e-4


def tempo_class(bpm: float) -> str:
    """slow below 90 BPM, fast from 125, else medium."""
    return "slow" if bpm < SLOW_BELOW_BPM else "fast" if bpm >= FAST_FROM_BPM else "medium"


def heard(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """How the bands are filled, float64 [4 x 64]: quantiles 20, 50 and 80 % and deviation over the louder frames,
    each frame relative to its own level. Samples float32 [n] at 16 kHz, at least 64 ms."""
    mel = log_mel(samples).astype(np.float64)
    level = np.log(np.exp(mel).mean(axis=1))
    shares = (mel - level[:, None])[level >= np.percentile(level, QUIETEST_PERCENT)]
    return np.concatenate([np.percentile(shares, [20, 50, 80], axis=0).ravel(), shares.std(axis=0)])


class Judge:
    """Claims that hold for a sound. `kinds` are those that it can judge at all."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        with np.load(path, allow_pickle=False) as kept:
            self.mean, self.scale, self.weights = kept["mean"], kept["scale"], kept["weights"]
            self.labels = [(str(kind), str(value)) for kind, value in kept["labels"]]
            self.right: dict[str, float] = {
                str(k): float(v) for k, v in zip(kept["kinds"], kept["right"], strict=True)
            }
        self.kinds = frozenset(self.right)

    def truths(self, samples: NDArray[np.float32]) -> frozenset[Claim]:
        """What is true of a mono sound float32 [n] at 16 kHz; nothing of silence or a sound below 64 ms."""
        if len(samples) < WINDOW or float(np.abs(samples).max()) < SILENCE:
            return frozenset()
        scores = np.append((heard(samples) - self.mean) / self.scale, 1.0) @ self.weights
        ranked = sorted(zip(scores.tolist(), self.labels, strict=True), reverse=True)
        found = {claim for score, claim in ranked if claim[0] == "instrument" and score > LIKELY}
        for kind in ("mood", "instrument"):  # there is always one
            found.add(next(claim for _, claim in ranked if claim[0] == kind))
        track = track_beats(samples, SOUND_RATE_HZ)
        if track.tempo_bpm is not None and len(track.beats_s) >= LEAST_BEATS:
            found.add(("tempo", tempo_class(track.tempo_bpm)))
        return frozenset(found)


@cache
def shipped() -> Judge:
    """The judge whose weights lie in the package."""
    return Judge()


def said() -> str:
    """How often the judge is right, in words."""
    right = shipped().right
    told = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in right.items())
    return f"a judge fitted on the world's music, right on held-out pieces of it: {told}"
