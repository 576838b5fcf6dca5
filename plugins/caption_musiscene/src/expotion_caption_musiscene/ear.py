"""The ear of the small captioner: from two spectra of a sound to what it says of its classes.

    e = W [colour(mel), pulse(mel), harmony(tones), profile(tones)],     p(kind) = softmax(H_kind e)

Colour: convolutions over the log-mel picture, pooled over time. Pulse: how the onsets of four groups of bands
are like themselves some time later (autocorrelation, 0.16 to 4.1 s), which tells tempo and groove. Harmony:
tones folded to twelve classes, in the bass and above; the same convolution at each of the twelve turns and the
strongest turn kept, so that a mode is a mode in every key. Profile: which tones sound how much. Everything is
pooled over time: a sound of any length gives one vector.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion_caption_musiscene.mel import N_BANDS, N_TONES

WIDTH = 192
N_GROUPS = 4
LAGS = (5, 129)
"""Frames of the log-mel spectrum between an onset and its echo: first, and one after the last."""
BASS_OCTAVES = 2
SPREAD = 4.0
"""Log power is divided by this; 6 is added before."""


class Ear(nn.Module):
    """`sizes`: kind -> number of its values."""

    def __init__(self, sizes: Mapping[str, int], dropout: float = 0.3) -> None:
        super().__init__()
        self.colour = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.GroupNorm(4, 16),
            nn.GELU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(4, 64),
            nn.GELU(),
        )
        self.mixed = nn.Sequential(nn.Conv1d(64 * N_BANDS // 8, 128, 1), nn.GroupNorm(4, 128), nn.GELU())
        n_lags = LAGS[1] - LAGS[0]
        self.pulse = nn.Sequential(nn.Linear(N_GROUPS * n_lags, 160), nn.LayerNorm(160), nn.GELU())
        self.turned = nn.Conv2d(2, 48, (3, 12), padding=(1, 0))
        self.chords = nn.Conv2d(48, 64, (5, 1), stride=(2, 1), padding=(2, 0))
        self.keys = nn.Conv1d(128, 96, 12)
        self.profile = nn.Sequential(nn.Linear(2 * N_TONES + 4, 96), nn.LayerNorm(96), nn.GELU())
        self.joined = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(3 * 128 + 160 + 2 * 96 + 96, WIDTH), nn.LayerNorm(WIDTH), nn.GELU()
        )
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({kind: nn.Linear(WIDTH, n) for kind, n in sizes.items()})

    def forward(self, mel: Tensor, tones: Tensor) -> Tensor:
        """What was heard, [B, 192], of log-mel [B, T, 64] and log tones [B, S, 60]."""
        level = mel.logsumexp(dim=2)
        ranks = torch.tensor([0.1, 0.5, 0.9], dtype=level.dtype, device=level.device)
        levels = torch.cat([level.quantile(ranks, dim=1).T, level.std(dim=1, keepdim=True)], dim=1)
        mel, tones = (mel + 6.0) / SPREAD, (tones + 6.0) / SPREAD
        profile = torch.cat([tones.mean(dim=1), tones.std(dim=1), (levels + 6.0) / SPREAD], dim=1)
        parts = [self._colour(mel), self.pulse(echoes(mel).flatten(1)), self._harmony(tones), self.profile(profile)]
        heard: Tensor = self.joined(torch.cat(parts, dim=1))
        return heard

    def says(self, heard: Tensor) -> dict[str, Tensor]:
        """Logits of every kind, [B, values], of what was heard."""
        kept = self.dropout(heard)
        return {kind: head(kept) for kind, head in self.heads.items()}

    def _colour(self, mel: Tensor) -> Tensor:
        picture = self.colour(mel[:, None].transpose(2, 3))  # [B, 64, bands / 8, time / 8]
        frames = self.mixed(picture.flatten(1, 2))
        return torch.cat([frames.mean(dim=2), frames.std(dim=2), frames.amax(dim=2)], dim=1)

    def _harmony(self, tones: Tensor) -> Tensor:
        octaves = tones.unflatten(2, (N_TONES // 12, 12))
        bass, above = octaves[:, :, :BASS_OCTAVES].mean(dim=2), octaves[:, :, BASS_OCTAVES:].logsumexp(dim=2)
        folded = torch.stack([bass, above], dim=1)
        folded = folded - folded.mean(dim=3, keepdim=True)
        turned = functional.gelu(self.turned(all_turns(folded)))
        chords = functional.gelu(self.chords(turned))  # [B, 64, time / 2, 12]
        over_time = torch.cat([chords.mean(dim=2), chords.amax(dim=2)], dim=1)
        keys = functional.gelu(self.keys(all_turns(over_time)))
        return torch.cat([keys.amax(dim=2), keys.mean(dim=2)], dim=1)


def all_turns(folded: Tensor) -> Tensor:
    """Twelve classes [.., 12] and the first eleven once more: twelve stretches of twelve, one for each turn."""
    return torch.cat([folded, folded[..., :11]], dim=-1)


def echoes(mel: Tensor) -> Tensor:
    """Autocorrelation of the onsets of each group of bands, [B, 4, lags]; 1 where all onsets come again."""
    rise = functional.relu(mel[:, 1:] - mel[:, :-1])
    onsets = rise.unflatten(2, (N_GROUPS, N_BANDS // N_GROUPS)).mean(dim=3).transpose(1, 2)
    onsets = onsets - onsets.mean(dim=2, keepdim=True)
    n = onsets.shape[2]
    spectrum = torch.fft.rfft(onsets, 2 * max(n, LAGS[1]))
    found = torch.fft.irfft(spectrum.abs().square(), 2 * max(n, LAGS[1]))
    pairs = (n - torch.arange(LAGS[1], device=mel.device)).clamp(min=1) / n
    echoed: Tensor = found[:, :, LAGS[0] : LAGS[1]] / pairs[LAGS[0] :] / (found[:, :, :1] + 1e-4)
    return echoed
