"""What a codec keeps of a sound, cheaply: chroma, levels in mel bands, and what lies above 4 kHz."""

from __future__ import annotations

import numpy as np
import torch
from codec_loss import mel_bank, pitch_bank, spectra
from numpy.typing import NDArray
from torch import Tensor


def chroma(sound: Tensor, rate_hz: int) -> NDArray[np.float32]:
    """Magnitude per pitch class, float32 [frames, 12], of sound [samples]: windows of 8,192, MIDI 36 to 107."""
    magnitude = spectra(sound[None], 8192, torch.hann_window(8192))[0]
    bands = (magnitude @ pitch_bank(rate_hz, 8192))[:, 0:-1:2]  # whole semitones from C2 up
    return bands.view(len(bands), -1, 12).sum(1).numpy()


def chroma_correlation(heard: Tensor, wanted: Tensor, rate_hz: int) -> float:
    """Pearson correlation of two chroma pictures [samples] each; nan where one of them is constant."""
    a, b = (chroma(x, rate_hz).ravel() for x in (heard, wanted))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def mel_distance(heard: Tensor, wanted: Tensor, rate_hz: int) -> float:
    """Mean absolute difference of natural log levels in 80 mel bands, windows of 1,024; [samples] each."""
    levels = [
        torch.log(spectra(x[None], 1024, torch.hann_window(1024)) @ mel_bank(rate_hz, 1024, 80) + 1e-4)
        for x in (heard, wanted)
    ]
    return float((levels[0] - levels[1]).abs().mean())


def high_band_db(heard: Tensor, wanted: Tensor, rate_hz: int, above_hz: float = 4000.0) -> float:
    """Energy above a frequency, codec against original, in dB; [..., samples] each."""
    energy = []
    for x in (heard, wanted):
        power = torch.fft.rfft(x.double()).abs().square()
        energy.append(float(power[..., round(above_hz * x.shape[-1] / rate_hz) :].sum()) + 1e-12)
    return float(10.0 * np.log10(energy[0] / energy[1]))
