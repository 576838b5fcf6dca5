"""CLAP as transformers loads it, from the folder that was pulled.

A sound is cut into windows of 10 s, the length that CLAP was trained on; its own feature extractor would take a
random 10 s of a longer sound, and the value would change from call to call. A last piece under a second is left
out unless it is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.contracts import Rows, Score, Scored, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_metrics_clap import CLAP, SAMPLE_RATE_HZ

WINDOW_S = 10.0
MIN_S = 1.0


class Clap:
    """The two encoders of a CLAP folder (config, weights, tokenizer, feature extractor)."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel  # noqa: PLC0415 - slow to import

        try:
            self.model = ClapModel.from_pretrained(folder, local_files_only=True).eval().requires_grad_(False)
            self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.listen = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        except Exception as error:
            text = (str(error).strip().splitlines() or ["no message"])[0]
            wanted = "a CLAP folder as transformers saves it"
            raise WeightsError(
                Problem(str(folder), wanted, f"{type(error).__name__}: {text[:200]}", f"pull {CLAP.name} again")
            ) from error

    def audio(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings float32 [k, D] of length 1 of the windows of a sound at 48 kHz."""
        rows = []
        for window in windows(samples):
            heard = self.listen(window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
            with torch.inference_mode():
                rows.append(_pooled(self.model.get_audio_features(**heard)))
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.model.config.projection_dim), np.float32)

    def text(self, prompt: str) -> NDArray[np.float32]:
        """Embedding float32 [D] of length 1 of a prompt."""
        tokens = self.tokenizer([prompt], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            found: NDArray[np.float32] = _pooled(self.model.get_text_features(**tokens))[0].numpy()
        return found


def windows(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Pieces of at most 10 s; a last one under a second only where it is the first."""
    size = round(WINDOW_S * SAMPLE_RATE_HZ)
    for start in range(0, len(samples), size):
        piece = samples[start : start + size]
        if start == 0 or len(piece) >= MIN_S * SAMPLE_RATE_HZ:
            yield piece


def similarity() -> Callable[[Scored], Score]:
    """The metric of a sound and its prompt. Raises WeightsError where the weights are not there."""
    clap = _open()

    def score(scored: Scored) -> Score:
        if not scored.prompt:
            return Score(None, "the sound was made without a prompt")
        rows = clap.audio(scored.samples)
        if not len(rows):
            return Score(None, "the sound has no samples")
        mean = rows.mean(axis=0)
        length = float(np.linalg.norm(mean))
        return Score(float(mean @ clap.text(scored.prompt)) / length if length > 0 else 0.0)

    return score


def embedder() -> Callable[[Scored], Rows | Score]:
    """The rows of a sound for the Fréchet distance. Raises WeightsError where the weights are not there."""
    clap = _open()

    def rows(scored: Scored) -> Rows | Score:
        found = clap.audio(scored.samples)
        return found if len(found) else Score(None, "the sound has no samples")

    return rows


def _pooled(output: Any) -> torch.Tensor:
    """The embedding, which transformers 5 wraps and 4 does not."""
    return torch.nn.functional.normalize(getattr(output, "pooler_output", output), dim=-1)


def _open() -> Clap:
    path = pulled_weights(CLAP.name)
    if path is None:
        fix = f"expotion models pull {CLAP.name}"
        raise WeightsError(Problem("CLAP", f"the weights {CLAP.name}", "not pulled", fix))
    return Clap(path.parent)
