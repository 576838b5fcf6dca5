"""The captioner `musiscene`: a scene that a clip's music would suit, by the small model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from expotion.contracts import Clip
from expotion.errors import MediaError, Problem
from expotion_caption_musiscene.mel import SOUND_RATE_HZ
from expotion_caption_musiscene.options import SceneOptions
from expotion_caption_musiscene.teller import WEIGHTS, likeliest, load, seed_of, spectra_of

SHORTEST_S, LONGEST_S = 1.0, 30.0
SILENCE = 1e-4


class SceneCaptioner:
    """One line about a clip; the same sound gives the same line."""

    def __init__(self, options: SceneOptions) -> None:
        self.model = load(options.model or WEIGHTS)

    @torch.inference_mode()
    def __call__(self, clip: Clip) -> str:
        """The scene. Raises MediaError for a clip without sound, a silent one and one below 1 s."""
        samples = heard_of(clip)
        mel, tones = (torch.from_numpy(one)[None] for one in spectra_of(samples))
        [line] = self.model.draw(likeliest(self.model.hear(mel, tones)), [seed_of(samples)])
        return line


def heard_of(clip: Clip) -> NDArray[np.float32]:
    """A clip's sound at 16 kHz, of a long one the middle 30 s. Raises MediaError as the captioner does."""
    samples = clip.audio(SOUND_RATE_HZ)
    if samples is None or len(samples) == 0:
        raise MediaError(Problem(clip.id, "a clip with sound", "none"))
    if len(samples) < SHORTEST_S * SOUND_RATE_HZ:
        raise MediaError(Problem(clip.id, f"at least {SHORTEST_S:g} s of sound", f"{clip.duration_s:.2f} s"))
    if float(np.abs(samples).max()) < SILENCE:
        raise MediaError(Problem(clip.id, "music to describe", "silence"))
    most = int(LONGEST_S * SOUND_RATE_HZ)
    begin = max(0, (len(samples) - most) // 2)
    return samples[begin : begin + most]
