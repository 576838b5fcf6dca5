"""The metric of both models: the cosine of what a clip shows and what is heard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.contracts import Score, Scored, Video, Weights, pulled_weights
from expotion.errors import Problem, WeightsError
from expotion_metrics_video import IMAGEBIND_HUGE, LANGUAGEBIND_AUDIO, LANGUAGEBIND_VIDEO

MIN_SAMPLES = 400
_MEMO_SIZE = 512


def languagebind() -> Callable[[Scored], Score]:
    """The metric with LanguageBind. Raises WeightsError where weights are not there or do not fit."""
    from expotion_metrics_video.languagebind import pictures, spectrogram  # noqa: PLC0415 - one model at a time
    from expotion_metrics_video.tower import load  # noqa: PLC0415

    video, _ = load(_pulled(LANGUAGEBIND_VIDEO))
    audio, config = load(_pulled(LANGUAGEBIND_AUDIO))
    geometry = video.geometry

    def see(shown: Video, end_s: float) -> Tensor:
        found: Tensor = video(pictures(shown, end_s, geometry.frames, geometry.size[0])[None])[0]
        return found

    def hear(samples: NDArray[np.float32]) -> Tensor:
        found: Tensor = audio(spectrogram(samples, config)[None])[0]
        return found

    return cosine(see, hear)


def imagebind() -> Callable[[Scored], Score]:
    """The metric with ImageBind. Raises WeightsError where weights are not there or do not fit."""
    from expotion_metrics_video.imagebind import crops, load_imagebind, spectrograms  # noqa: PLC0415

    model = load_imagebind(_pulled(IMAGEBIND_HUGE))
    return cosine(
        lambda shown, end_s: model.embed("vision", crops(shown, end_s, model.sizes.side)),
        lambda samples: model.embed("audio", spectrograms(samples)),
    )


def cosine(
    see: Callable[[Video, float], Tensor], hear: Callable[[NDArray[np.float32]], Tensor]
) -> Callable[[Scored], Score]:
    """The metric of two encoders with outputs of length 1. Pictures are remembered: every row looks at them."""
    seen: OrderedDict[str, Tensor] = OrderedDict()

    def score(scored: Scored) -> Score:
        video = scored.clip.video
        if video is None or not len(video.frame_times_s):
            return Score(None, "the clip has no picture")
        if len(scored.samples) < MIN_SAMPLES:
            return Score(None, "the output is too short")
        key = scored.clip.content_hash
        with torch.inference_mode():
            if key not in seen:
                seen[key] = see(video, min(scored.clip.duration_s, video.decodable_until_s))
                while len(seen) > _MEMO_SIZE:
                    seen.popitem(last=False)
            return Score(float(seen[key] @ hear(np.asarray(scored.samples, dtype=np.float32))))

    return score


def _pulled(weights: Weights) -> Path:
    path = pulled_weights(weights.name)
    if path is None:
        fix = f"expotion models pull {weights.name}"
        raise WeightsError(Problem(weights.name, "these weights", "not pulled", fix))
    return path
