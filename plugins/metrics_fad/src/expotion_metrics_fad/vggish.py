"""VGGish (Hershey et al. 2017) in the layout of torchvggish's released state dict, and what it listens to.

Input: 0.96 s of sound at 16 kHz as 96 frames (25 ms every 10 ms, periodic Hann, FFT of 512) of 64 HTK mel bands of
the magnitude from 125 to 7500 Hz, log(x + 0.01). Output: 128 numbers before the last ReLU, without PCA and
quantisation, as FAD toolkits take them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expotion.weights import fill, read_state

RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512
FRAMES, BANDS = 96, 64
BAND_EDGES_HZ = (125.0, 7500.0)
WIDTH = 128
_LAYERS = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool")


class VGGish(nn.Module):
    """Keys `features.{0,3,6,8,11,13}` (convolutions) and `embeddings.{0,2,4}` (linear), as released."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for layer in _LAYERS:
            if isinstance(layer, int):
                layers += [nn.Conv2d(channels, layer, kernel_size=3, padding=1), nn.ReLU()]
                channels = layer
            else:
                layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        flat = channels * (FRAMES // 16) * (BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, WIDTH)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Log mel [k, 96, 64] -> embeddings [k, 128]."""
        found: Tensor = self.features(mel[:, None])  # [k, 512, 6, 4]
        result: Tensor = self.embeddings(found.permute(0, 2, 3, 1).flatten(1))  # channels last, as in TensorFlow
        return result


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Windows of log mel of a sound float32 [n] at 16 kHz: float32 [n // 0.96 s, 96, 64]; the rest is left out."""
    if len(samples) < WINDOW:
        return np.zeros((0, FRAMES, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float64), WINDOW)[::HOP]
    frames = frames[: len(frames) // FRAMES * FRAMES]
    window = 0.5 - 0.5 * np.cos(2 * np.pi / WINDOW * np.arange(WINDOW))
    magnitude = np.abs(np.fft.rfft(frames * window, FFT))
    mel = np.log(magnitude @ _mel_bands() + 0.01)
    return np.asarray(mel.reshape(-1, FRAMES, BANDS), dtype=np.float32)


def load(path: Path) -> VGGish:
    """VGGish with the weights in a state dict. Raises WeightsError where they do not fit."""
    with torch.device("meta"):  # 72 million numbers are not drawn to be replaced
        model = VGGish()
    model.to_empty(device="cpu")
    fill(model, read_state(path), f"{path} (torchvggish's state dict of VGGish)")
    return model.eval().requires_grad_(False)


@cache
def _mel_bands() -> NDArray[np.float64]:
    """HTK triangles [257, 64], straight in mel, not normalised; the DC bin counts nowhere."""
    bins_mel, low, high = (
        1127.0 * np.log1p(np.asarray(hz, dtype=np.float64) / 700.0)
        for hz in (np.linspace(0, RATE_HZ / 2, FFT // 2 + 1), *BAND_EDGES_HZ)
    )
    edges = np.linspace(low, high, BANDS + 2)
    rising = (bins_mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_mel[:, None]) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return np.asarray(weights)
