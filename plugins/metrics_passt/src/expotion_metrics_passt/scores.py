"""KL divergence and rows for the inception score, from PaSST's class probabilities.

Sounds are cut into windows of 10 s, what PaSST was trained on; a last piece under a second is left out unless it is
all there is, and shorter pieces than PaSST can take are padded with silence. Probabilities are a softmax over the
527 classes, as in AudioGen's and MusicGen's KL, although PaSST was trained to name several at once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.contracts import Rows, Score, Scored, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_metrics_passt import PASST
from expotion_metrics_passt.mel import MIN_SAMPLES, RATE_HZ, log_mel
from expotion_metrics_passt.passt import Passt, load

WINDOW_S = 10
_MEMO_SIZE = 4096


class Listener:
    """PaSST with a memory of what it heard: KL and inception score hear the same sounds."""

    def __init__(self, model: Passt) -> None:
        self.model = model
        self._heard: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    def log_probabilities(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Log probabilities float32 [k, classes], one row for each 10 s of a sound float32 [n] at 32 kHz, n > 0."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        key = hashlib.sha256(samples.data).hexdigest()
        if key not in self._heard:
            self._heard[key] = self._listen(samples)
            while len(self._heard) > _MEMO_SIZE:
                self._heard.popitem(last=False)
        return self._heard[key]

    def _listen(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        size = WINDOW_S * RATE_HZ
        rows = []
        for start in range(0, len(samples), size):
            piece = samples[start : start + size]
            if start and len(piece) < RATE_HZ:
                continue
            least = max(MIN_SAMPLES, self.model.geometry.patch * 320)
            piece = np.pad(piece, (0, max(0, least - len(piece))))
            with torch.inference_mode():
                rows.append(torch.log_softmax(self.model(log_mel(piece)[None]), dim=-1))
        return torch.cat(rows).numpy()


_opened: list[Listener] = []


def listener() -> Listener:
    """PaSST with the weights that were pulled, opened once. Raises WeightsError where they are not there."""
    if not _opened:
        path = pulled_weights(PASST.name)
        if path is None:
            fix = f"expotion models pull {PASST.name}"
            raise WeightsError(Problem("PaSST", f"the weights {PASST.name}", "not pulled", fix))
        _opened.append(Listener(load(path)))
    return _opened[0]


def divergence() -> Callable[[Scored], Score]:
    """The metric: KL(own || output) = sum over classes of own (log own - log output), mean over windows of 10 s."""
    heard = listener()

    def score(scored: Scored) -> Score:
        own = scored.clip.audio(RATE_HZ)
        if own is None or not len(own):
            return Score(None, "the clip has no sound of its own")
        if not len(scored.samples):
            return Score(None, "the output has no samples")
        ours, theirs = heard.log_probabilities(scored.samples), heard.log_probabilities(own)
        both = min(len(ours), len(theirs))
        first, second = theirs[:both].astype(np.float64), ours[:both].astype(np.float64)
        return Score(float((np.exp(first) * (first - second)).sum(axis=1).mean()))

    return score


def probabilities() -> Callable[[Scored], Rows | Score]:
    """The rows of the inception score."""
    heard = listener()

    def rows(scored: Scored) -> Rows | Score:
        if not len(scored.samples):
            return Score(None, "the output has no samples")
        found: Rows = np.exp(heard.log_probabilities(scored.samples))
        return found

    return rows
