"""What LanguageBind sees and hears of a clip.

Picture: as many frames as the model takes (8), evenly from the first to the last of the clip, shorter side 224,
centre crop, CLIP's mean and deviation. The released code crops and flips at random, also when it only looks; here
the centre is taken, so the value does not change from call to call. Sound: Kaldi's log mel of the sound without its
mean; a short one is repeated and padded to the model's 10.36 s, of a long one the beginning and the starts of its
second and last third, which are the three channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.contracts import Video
from expotion_metrics_video.fbank import fbank

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pictures(video: Video, end_s: float, n_frames: int, side: int) -> Tensor:
    """Frames float32 [3, n, side, side], normalised, evenly from 0 to the last frame before `end_s`."""
    shown = video.frame_times_s[video.frame_times_s < end_s]
    last_s = float(shown[-1]) if len(shown) else 0.0
    frames = video.frames_at(np.linspace(0.0, last_s, n_frames), shorter_side=side)
    height, width = frames.shape[1:3]
    top, left = (height - side) // 2, (width - side) // 2
    cropped = torch.from_numpy(np.ascontiguousarray(frames[:, top : top + side, left : left + side]))
    scaled = (cropped.float() / 255.0 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.permute(3, 0, 1, 2)


def spectrogram(samples: NDArray[np.float32], config: Mapping[str, Any]) -> Tensor:
    """Three channels of log mel float32 [3, bands, length] of a sound float32 [n], n > 0."""
    vision = config["vision_config"]
    rate_hz, bands, length = (vision[key] for key in ("audio_sample_rate", "num_mel_bins", "target_length"))
    size = length * rate_hz // 100
    sound = np.asarray(samples, dtype=np.float32)
    if len(sound) < size:
        sound = np.tile(sound, size // len(sound))
        sound = np.pad(sound, (0, size - len(sound)))
    mel = fbank(sound - sound.mean(), rate_hz, bands)
    starts = [0, 0, 0]
    if len(sound) > size and len(mel) > length:
        parts = np.array_split(np.arange(len(mel) - length + 1), 3)
        starts = [int(part[0]) if len(part) else 0 for part in parts]
    channels = []
    for start in starts:
        piece = mel[start : start + length]
        channels.append(np.pad(piece, ((0, length - len(piece)), (0, 0))).T)
    scaled = (np.stack(channels) - vision["audio_mean"]) / vision["audio_std"]
    return torch.from_numpy(np.asarray(scaled, dtype=np.float32))
