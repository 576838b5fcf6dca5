"""The package's model on windows of 10 s, as its own predictor cuts and weighs them.

The predictor itself is not used: it takes whatever device is there, resamples with torchaudio and loads from the
network. Here the model comes from the folder that was pulled, and a sound is heard once for all four axes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.contracts import Score, Scored, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_metrics_aesthetics import SAMPLE_RATE_HZ, WEIGHTS

WINDOW_S = 10
MIN_SAMPLES = 400  # the first frame of WavLM
_MEMO_SIZE = 4096


class Judge:
    """The model and what it said; `model` maps {wav [k, 1, n], mask} to normalised scores [k] by axis."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._said: OrderedDict[str, Mapping[str, float]] = OrderedDict()

    def scores(self, samples: NDArray[np.float32]) -> Mapping[str, float]:
        """Score of each axis of a sound float32 [n] at 16 kHz: windows of 10 s weighed by their length."""
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        key = hashlib.sha256(samples.data).hexdigest()
        if key not in self._said:
            self._said[key] = self._judge(samples)
            while len(self._said) > _MEMO_SIZE:
                self._said.popitem(last=False)
        return self._said[key]

    def _judge(self, samples: NDArray[np.float32]) -> Mapping[str, float]:
        size = WINDOW_S * SAMPLE_RATE_HZ
        sums: dict[str, float] = {}
        total = 0.0
        for start in range(0, len(samples), size):
            piece = samples[start : start + size]
            wav = torch.zeros(1, 1, size)
            wav[0, 0, : len(piece)] = torch.from_numpy(piece)
            mask = torch.zeros(1, 1, size, dtype=torch.bool)
            mask[..., : len(piece)] = True
            with torch.inference_mode():
                found = self.model({"wav": wav, "mask": mask})
            weight = len(piece) / size
            total += weight
            for axis, value in found.items():
                scale = self.model.target_transform[axis]
                sums[axis] = sums.get(axis, 0.0) + weight * (float(value[0]) * scale["std"] + scale["mean"])
        return {axis: value / total for axis, value in sums.items()}


_opened: list[Judge] = []


def judge() -> Judge:
    """The model with the weights that were pulled, opened once. Raises WeightsError where they are not there."""
    if not _opened:
        path = pulled_weights(WEIGHTS.name)
        if path is None:
            fix = f"expotion models pull {WEIGHTS.name}"
            raise WeightsError(Problem("audiobox aesthetics", f"the weights {WEIGHTS.name}", "not pulled", fix))
        _opened.append(Judge(_load(path.parent)))
    return _opened[0]


def predictor(axis: str) -> Callable[[Scored], Score]:
    """The metric of one axis."""
    heard = judge()

    def score(scored: Scored) -> Score:
        if len(scored.samples) < MIN_SAMPLES:
            return Score(None, "the output is too short")
        return Score(heard.scores(scored.samples)[axis])

    return score


def _load(folder: Path) -> Any:
    from audiobox_aesthetics.model.aes import AesMultiOutput  # noqa: PLC0415 - an optional package

    try:
        return AesMultiOutput.from_pretrained(str(folder), local_files_only=True).eval().requires_grad_(False)
    except Exception as error:
        text = (str(error).strip().splitlines() or ["no message"])[0]
        wanted = "a folder of audiobox aesthetics as the hub has it"
        raise WeightsError(Problem(str(folder), wanted, f"{type(error).__name__}: {text[:200]}")) from error
