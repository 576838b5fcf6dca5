"""EnCodec: sound to codes and back, through transformers' EncodecModel.

Mono, non-causal, one scale, no chunking. T = ceil(n / hop) frames; residual vector quantisation picks, stage by
stage, the entry nearest to what is left; decoding sums the K entries. Whether convolutions pad with zeros or by
reflection is read from the configuration (`pad_mode`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expotion.backbone.geometry import codebooks_from_bandwidth
from expotion.errors import ExpotionError, Problem, WeightsError

if TYPE_CHECKING:
    from transformers import EncodecConfig, EncodecModel


def check_config(config: EncodecConfig, where: str) -> None:
    """Refuse codecs that MusicGen does not use; all reasons at once (WeightsError)."""
    wanted: dict[str, Any] = {"audio_channels": 1, "normalize": False, "chunk_length_s": None}
    problems = [
        Problem(f"{where} audio_encoder.{key}", f"to be {value!r}", repr(getattr(config, key, value)))
        for key, value in wanted.items()
        if getattr(config, key, value) != value
    ]
    if problems:
        raise WeightsError(problems)


class Codec:
    """Frozen EnCodec. Deterministic; float32; no gradients."""

    def __init__(self, model: EncodecModel) -> None:
        config = model.config
        self.model = model
        self.model.train(False)
        self.model.requires_grad_(False)
        self.sample_rate_hz = int(config.sampling_rate)
        self.hop = math.prod(int(ratio) for ratio in config.upsampling_ratios)
        self.card = int(config.codebook_size)
        self.bandwidth_kbps = float(config.target_bandwidths[-1])
        self.n_codebooks = codebooks_from_bandwidth(
            self.bandwidth_kbps, math.ceil(self.sample_rate_hz / self.hop), self.card
        )

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second, sample rate / hop."""
        return self.sample_rate_hz / self.hop

    def n_frames(self, n_samples: int) -> int:
        """Frames of a sound of n samples: ceil(n / hop)."""
        return -(-n_samples // self.hop)

    @torch.no_grad()
    def latent(self, wave: Tensor) -> Tensor:
        """Encoder output before quantisation: wave [B, n] to [B, width, T]."""
        return cast(Tensor, self.model.encoder(wave[:, None, :]))

    @torch.no_grad()
    def encode(self, wave: Tensor | NDArray[np.float32]) -> Tensor:
        """Samples [n] or [B, n] at `sample_rate_hz` to codes int64 [K, T] or [B, K, T]."""
        samples = torch.as_tensor(wave, dtype=torch.float32, device=self.model.device)
        if samples.dim() not in (1, 2) or samples.shape[-1] == 0:
            raise ExpotionError(f"a sound must be [n] or [B, n] with n > 0, got {list(samples.shape)}")
        batched = samples if samples.dim() == 2 else samples[None]
        codes = self.model.quantizer.encode(self.latent(batched), self.bandwidth_kbps)  # (K, B, T)
        codes = codes.transpose(0, 1).contiguous()
        return codes if samples.dim() == 2 else codes[0]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [K, T] or [B, K, T] to samples float32 [T hop] or [B, T hop]."""
        batched = codes if codes.dim() == 3 else codes[None]
        if batched.dim() != 3 or batched.shape[1] != self.n_codebooks or batched.shape[2] == 0:
            raise ExpotionError(f"codes must be [B, K={self.n_codebooks}, T > 0], got {list(codes.shape)}")
        low, high = int(batched.min()), int(batched.max())
        if low < 0 or high >= self.card:
            raise ExpotionError(f"codes must lie in 0..{self.card - 1}, got {low}..{high}")
        latent = self.model.quantizer.decode(batched.to(self.model.device).transpose(0, 1))
        wave = cast(Tensor, self.model.decoder(latent))[:, 0]
        return wave if codes.dim() == 3 else wave[0]
