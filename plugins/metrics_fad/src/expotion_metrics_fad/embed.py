"""From a sound to its VGGish embeddings, with the weights that were pulled."""

from __future__ import annotations

from collections.abc import Callable

import torch

from expotion.contracts import Rows, Score, Scored, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_metrics_fad import VGGISH
from expotion_metrics_fad.vggish import FRAMES, HOP, RATE_HZ, WINDOW, load, log_mel

BATCH = 32


def embedder() -> Callable[[Scored], Rows | Score]:
    """The metric's function. Raises WeightsError where the weights are not there or do not fit."""
    path = pulled_weights(VGGISH.name)
    if path is None:
        fix = f"expotion models pull {VGGISH.name}"
        raise WeightsError(Problem("fad_vggish", f"the weights {VGGISH.name}", "not pulled", fix))
    model = load(path)

    def rows(scored: Scored) -> Rows | Score:
        mel = torch.from_numpy(log_mel(scored.samples))
        if not len(mel):
            return Score(None, f"shorter than {(WINDOW + (FRAMES - 1) * HOP) / RATE_HZ:g} s")
        with torch.inference_mode():
            found: Rows = torch.cat([model(part) for part in mel.split(BATCH)]).numpy()
        return found

    return rows
