"""What PaSST listens to: log mel of the power spectrum after a pre-emphasis.

y[i] = x[i + 1] - 0.97 x[i]; symmetric Hann of 800 in an FFT of 1024 every 320, centred with reflection; 128 Kaldi
mel bands (triangles straight in mel, the Nyquist bin left out) from 0 to 15 kHz; (log(x + 1e-5) + 4.5) / 5.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE_HZ = 32_000
FFT, WINDOW, HOP, BANDS = 1024, 800, 320, 128
HIGHEST_HZ = 15_000.0
PRE_EMPHASIS = 0.97
MIN_SAMPLES = FFT  # what the reflection at the ends needs, with room


def log_mel(samples: NDArray[np.float32]) -> Tensor:
    """Log mel float32 [128, 1 + (n - 1) // 320] of a sound float32 [n] at 32 kHz, n at least 1024."""
    sound = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    bright = sound[1:] - PRE_EMPHASIS * sound[:-1]
    spectrum = torch.stft(
        bright,
        FFT,
        hop_length=HOP,
        win_length=WINDOW,
        window=torch.hann_window(WINDOW, periodic=False),
        center=True,
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return ((_bands() @ power + 1e-5).log() + 4.5) / 5.0


@cache
def _bands() -> Tensor:
    """Kaldi's mel triangles [128, 513]; the last bin counts nowhere."""
    bins_mel = 1127.0 * np.log1p(np.arange(FFT // 2) * RATE_HZ / FFT / 700.0)
    top = 1127.0 * np.log1p(HIGHEST_HZ / 700.0)
    edges = np.linspace(0.0, top, BANDS + 2)[:, None]
    rising = (bins_mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_mel) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return torch.from_numpy(np.pad(weights, ((0, 0), (0, 1)))).float()
