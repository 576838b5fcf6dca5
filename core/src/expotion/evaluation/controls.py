"""Rows that need no model of ours: what the metrics say of the true sound, of the codec, and of silence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.contracts import Clip, Scored

GROUND_TRUTH, CODEC_CEILING, SILENCE, SHUFFLED = "ground_truth", "codec_ceiling", "silence", "shuffled"
PromptOf = Callable[[Clip], str | None]


def ground_truth(clips: Sequence[Clip], sample_rate_hz: int, prompt_of: PromptOf) -> list[Scored]:
    """Each clip's own sound; clips without one are left out."""
    return _row(clips, sample_rate_hz, prompt_of, lambda clip: clip.audio(sample_rate_hz))


def silence(clips: Sequence[Clip], sample_rate_hz: int, prompt_of: PromptOf) -> list[Scored]:
    """Zeros as long as each clip: what a metric gives for nothing at all."""
    return _row(
        clips,
        sample_rate_hz,
        prompt_of,
        lambda clip: np.zeros(timeline.n_samples(clip.duration_s, sample_rate_hz), np.float32),
    )


def _row(
    clips: Sequence[Clip],
    sample_rate_hz: int,
    prompt_of: PromptOf,
    sound: Callable[[Clip], NDArray[np.float32] | None],
) -> list[Scored]:
    made = ((clip, sound(clip)) for clip in clips)
    return [Scored(s, sample_rate_hz, clip, prompt_of(clip)) for clip, s in made if s is not None]
