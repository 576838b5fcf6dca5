"""How far two sounds are apart: log-mel and magnitude spectra at several resolutions, and the waveform."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def mel_bank(rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangular mel filters, float32 [n_fft // 2 + 1, n_mels], each summing to one."""
    top = 2595.0 * np.log10(1.0 + rate_hz / 2 / 700.0)
    edges_hz = 700.0 * (10.0 ** (np.linspace(0.0, top, n_mels + 2) / 2595.0) - 1.0)
    bins_hz = np.linspace(0.0, rate_hz / 2, n_fft // 2 + 1)[:, None]
    up = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    down = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    bank = np.maximum(0.0, np.minimum(up, down))
    return torch.from_numpy(bank / np.maximum(bank.sum(0), 1e-9)).float()


class SpectralLoss(nn.Module):
    """``mel``: mean absolute difference of log-mel levels, ``stft``: of square roots of magnitudes,
    ``wave``: of samples, relative to the level of the crop.

    Windows of 8 to 64 ms: the short ones keep onsets sharp, the long ones the pitch. The logarithm makes soft
    passages count as much as loud ones, so that loudness survives the codec.
    """

    def __init__(self, rate_hz: int, sizes: tuple[int, ...] = (256, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = sizes
        self.windows = [torch.hann_window(n) for n in sizes]
        self.banks = [mel_bank(rate_hz, n, {256: 24, 1024: 64, 2048: 128}[n]) for n in sizes]

    def forward(self, heard: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Both float32 [batch, 1, samples]."""
        both = torch.cat([heard, wanted])[:, 0]
        mel = stft = heard.new_zeros(())
        for size, window, bank in zip(self.sizes, self.windows, self.banks, strict=True):
            spectrum = torch.stft(both, size, size // 4, window=window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            magnitude = torch.sqrt(power.transpose(1, 2) + 1e-9) / (size / 4)  # [2 batch, frames, bins]
            levels = torch.log(magnitude @ bank + 4e-4)
            a, b = levels.chunk(2)
            mel = mel + (a - b).abs().mean() / len(self.sizes)
            x, y = magnitude.sqrt().chunk(2)
            stft = stft + (x - y).abs().mean() / len(self.sizes)
        scale = wanted.square().mean((1, 2), keepdim=True).sqrt() + 1e-2
        return {"mel": mel, "stft": stft, "wave": ((heard - wanted) / scale).abs().mean()}
