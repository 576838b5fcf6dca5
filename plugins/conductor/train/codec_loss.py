"""How far two sounds are apart: log levels in mel bands and in thirds of semitones, spectra, and the waveform."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

MEL = {512: 40, 1024: 80, 2048: 128}
"""Bands to a window of so many samples: short windows keep onsets sharp."""
LONG = 8192
"""Samples of the window that tells semitones apart, a quarter of a second."""
PITCH_RANGE = (36.0, 108.0)
BANDS_PER_SEMITONE = 2


def triangles(edges_hz: NDArray[np.float64], rate_hz: int, n_fft: int) -> Tensor:
    """Triangular bands between every other edge, float32 [n_fft // 2 + 1, bands], each summing to one."""
    bins_hz = np.linspace(0.0, rate_hz / 2, n_fft // 2 + 1)[:, None]
    up = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    down = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    bank = np.maximum(0.0, np.minimum(up, down))
    return torch.from_numpy(bank / np.maximum(bank.sum(0), 1e-9)).float()


def mel_bank(rate_hz: int, n_fft: int, n_mels: int) -> Tensor:
    """Mel bands from 0 to half the rate, float32 [n_fft // 2 + 1, n_mels]."""
    top = 2595.0 * np.log10(1.0 + rate_hz / 2 / 700.0)
    return triangles(700.0 * (10.0 ** (np.linspace(0.0, top, n_mels + 2) / 2595.0) - 1.0), rate_hz, n_fft)


def pitch_bank(rate_hz: int, n_fft: int) -> Tensor:
    """Bands of fractions of a semitone; those narrower than the window's resolution are widened to it."""
    low, high = PITCH_RANGE
    pitches = np.arange(low * BANDS_PER_SEMITONE, high * BANDS_PER_SEMITONE + 1) / BANDS_PER_SEMITONE
    centres = 440.0 * 2.0 ** ((pitches - 69.0) / 12.0)
    half = np.maximum(centres * (2.0 ** (1 / (12 * BANDS_PER_SEMITONE)) - 1), rate_hz / n_fft)
    bins_hz = np.linspace(0.0, rate_hz / 2, n_fft // 2 + 1)[:, None]
    bank = np.maximum(0.0, 1.0 - np.abs(bins_hz - centres) / half)
    return torch.from_numpy(bank / np.maximum(bank.sum(0), 1e-9)).float()


def spectra(sound: Tensor, n_fft: int, window: Tensor, hops: int = 4) -> Tensor:
    """Magnitudes [b, frames, bins] of sound [b, samples], `hops` to a window; a full sine has its amplitude."""
    made = torch.stft(sound, n_fft, n_fft // hops, window=window, center=False, return_complex=True)
    power = made.real.square() + made.imag.square()
    return torch.sqrt(power.transpose(1, 2) + 1e-12) / (n_fft / 4)


class SpectralLoss(nn.Module):
    """Of pairs of sounds:

    `mel`: mean absolute difference of log levels in mel bands (the logarithm makes soft passages count as much as
    loud ones, so that loudness survives); `pitch`: the same in fractions of semitones over a long window, which is
    what keeps notes; `fine`: of the square roots of the long window's magnitudes, relative to their mean;
    `wave`: of samples, relative to the level of the crop.
    """

    def __init__(self, rate_hz: int, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = floor
        for size in (*MEL, LONG):
            self.register_buffer(f"window_{size}", torch.hann_window(size))
            bank = mel_bank(rate_hz, size, MEL[size]) if size in MEL else pitch_bank(rate_hz, size)
            self.register_buffer(f"bank_{size}", bank)
        self.n_bins = round(LONG * 6000 / rate_hz)

    def forward(self, heard: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """Both float32 [batch, 1, samples]; gradients go to the first."""
        mel = heard.new_zeros(())
        for size in MEL:
            a, b = self._pair(heard, wanted, size, 2)
            mel = mel + self._levels_apart(a, b, getattr(self, f"bank_{size}"), self.floor) / len(MEL)
        a, b = self._pair(heard, wanted, LONG, 4)
        pitch = self._levels_apart(a, b, self.bank_8192, 3 * self.floor)
        # a root without a floor pulls hardest at bins in which nothing is
        x, y = ((m[:, :, : self.n_bins] + self.floor).sqrt() - self.floor**0.5 for m in (a, b))
        fine = ((x - y).abs().mean((1, 2)) / (y.mean((1, 2)) + 5e-3)).mean()
        scale = wanted.square().mean((1, 2), keepdim=True).sqrt() + 1e-2
        return {"mel": mel, "pitch": pitch, "fine": fine, "wave": ((heard - wanted) / scale).abs().mean()}

    def _pair(self, heard: Tensor, wanted: Tensor, size: int, hops: int) -> tuple[Tensor, Tensor]:
        window = getattr(self, f"window_{size}")
        with torch.no_grad():
            b = spectra(wanted[:, 0], size, window, hops)
        return spectra(heard[:, 0], size, window, hops), b

    @staticmethod
    def _levels_apart(a: Tensor, b: Tensor, bank: Tensor, floor: float) -> Tensor:
        return (torch.log(a @ bank + floor) - torch.log(b @ bank + floor)).abs().mean()
