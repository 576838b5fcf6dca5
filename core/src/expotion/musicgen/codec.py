"""EnCodec: sound to codes and back.

Non-causal, one scale, no chunking. The codec itself is mono; stereo is two of its sounds, whose codebooks stand as
left, right, left, right, ... A sound of a clip is mono, so that both sides get the same codes; what is decoded is
[n, 2]. T = ceil(n / hop) frames; residual vector quantisation picks, stage by
stage, the entry nearest to what is left; decoding sums the K entries. Whether convolutions pad with zeros or by
reflection is read from the configuration (`pad_mode`).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expotion.errors import ExpotionError
from expotion.musicgen.encodec import Encodec


class Codec:
    """Frozen EnCodec. Deterministic; no gradients; float32 unless `compute_in` says otherwise.

    `n_codebooks` counts those of all channels.
    """

    def __init__(self, model: Encodec, channels: int = 1) -> None:
        self.channels = channels
        self.model = model
        self.model.train(False)
        self.model.requires_grad_(False)
        self.dtype = torch.float32
        self.sample_rate_hz = model.settings.sampling_rate
        self.hop = model.settings.hop
        self.card = model.settings.codebook_size
        self.n_codebooks = channels * model.settings.n_codebooks

    def compute_in(self, dtype: torch.dtype) -> None:
        """Run encoder and decoder in a type; codes are looked up in float32, sound is float32."""
        for part in (self.model.encoder, self.model.decoder):
            nn.Module.to(part, dtype)
        self.dtype = dtype

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second, sample rate / hop."""
        return self.sample_rate_hz / self.hop

    @torch.no_grad()
    def latent(self, wave: Tensor) -> Tensor:
        """Encoder output before quantisation: wave [B, n] to [B, width, T]."""
        return cast(Tensor, self.model.encoder(wave[:, None, :].to(self.dtype))).float()

    @torch.no_grad()
    def encode(self, wave: Tensor | NDArray[np.float32]) -> Tensor:
        """Mono samples [n] or [B, n] at `sample_rate_hz` to codes int64 [K, T] or [B, K, T]."""
        samples = torch.as_tensor(wave, dtype=torch.float32, device=self.model.device)
        if samples.dim() not in (1, 2) or samples.shape[-1] == 0:
            raise ExpotionError(f"a sound must be [n] or [B, n] with n > 0, got {list(samples.shape)}")
        batched = samples if samples.dim() == 2 else samples[None]
        codes = self.model.quantizer.encode(self.latent(batched))  # (K, B, T)
        codes = codes.transpose(0, 1).repeat_interleave(self.channels, dim=1)
        return codes if samples.dim() == 2 else codes[0]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [K, T] or [B, K, T] to samples float32 [T hop] or [B, T hop]; of stereo with a last axis of 2."""
        batched = codes if codes.dim() == 3 else codes[None]
        if batched.dim() != 3 or batched.shape[1] != self.n_codebooks or batched.shape[2] == 0:
            raise ExpotionError(f"codes must be [B, K={self.n_codebooks}, T > 0], got {list(codes.shape)}")
        low, high = int(batched.min()), int(batched.max())
        if low < 0 or high >= self.card:
            raise ExpotionError(f"codes must lie in 0..{self.card - 1}, got {low}..{high}")
        wave = cast(Tensor, self.model.decoder(self.dequantised(batched)))[:, 0].float()
        if self.channels == 2:
            wave = wave.unflatten(0, (-1, 2)).transpose(1, 2)  # [B 2, n] -> [B, n, 2]
        return wave if codes.dim() == 3 else wave[0]

    def dequantised(self, codes: Tensor) -> Tensor:
        """The decoder's input for codes [B, K, T]: [B channels, width, T], left before right."""
        batch, k, n = codes.shape
        # [B, K, T] -> [B, K/C, C, T] -> [B, C, K/C, T] -> [K/C, B C, T]
        sides = codes.to(self.model.device).view(batch, k // self.channels, self.channels, n).transpose(1, 2)
        return self.model.quantizer.decode(sides.flatten(0, 1).transpose(0, 1)).to(self.dtype)


FIRST_MARGIN = 4
"""Frames to either side that the first convolution may see (its kernel of 7 sees 3)."""
STACK_MARGIN = 3
"""Frames to either side that the upsampling stack may see; 2 are enough for ratios of 8, 5, 4, 4."""


class CodecStream:
    """Decodes piece by piece, equal to decoding all at once: push codes, get samples; `finish` gives the rest.

    The decoder is a convolution, an LSTM that runs forwards, and a stack of convolutions that see a few frames to
    either side. The LSTM's state is carried from piece to piece; the others get the frames around a piece, and what
    those would spoil is cut off. The sound's edges are padded as they are in one go. One sound per stream.
    """

    def __init__(self, codec: Codec) -> None:
        layers = list(codec.model.decoder.layers)
        self._codec = codec
        self._first: nn.Module = layers[0]
        self._lstm = cast(Any, layers[1]).lstm
        self._stack = nn.Sequential(*layers[2:])
        self._state: tuple[Tensor, Tensor] | None = None
        self._latent: Tensor | None = None
        self._latent_before = 0
        self._hidden: Tensor | None = None
        self._hidden_before = 0

    @torch.inference_mode()
    def push(self, codes: Tensor) -> NDArray[np.float32]:
        """Codes [K, n], n > 0, to the samples that they settle: float32 [m] or [m, 2], perhaps none yet."""
        if codes.shape[-1] == 0:
            return self._nothing
        latent = self._codec.dequantised(codes[None])
        self._latent = latent if self._latent is None else torch.cat([self._latent, latent], dim=-1)
        return self._advance(last=False)

    @torch.inference_mode()
    def finish(self) -> NDArray[np.float32]:
        """The samples that waited for what comes after them."""
        return self._nothing if self._latent is None else self._advance(last=True)

    @property
    def _nothing(self) -> NDArray[np.float32]:
        return np.zeros((0,) if self._codec.channels == 1 else (0, 2), np.float32)

    def _advance(self, *, last: bool) -> NDArray[np.float32]:
        assert self._latent is not None
        made, self._latent, self._latent_before = _settle(
            self._first, self._latent, self._latent_before, FIRST_MARGIN, 1, last=last
        )
        if made.shape[-1]:
            steps = made.permute(2, 0, 1)
            out, self._state = self._lstm(steps, self._state)
            hidden = (out + steps).permute(1, 2, 0)
            self._hidden = hidden if self._hidden is None else torch.cat([self._hidden, hidden], dim=-1)
        if self._hidden is None:
            return self._nothing
        wave, self._hidden, self._hidden_before = _settle(
            self._stack, self._hidden, self._hidden_before, STACK_MARGIN, self._codec.hop, last=last
        )
        sound = wave[0, 0] if self._codec.channels == 1 else wave[:, 0].T
        return np.asarray(sound.float().cpu().numpy(), dtype=np.float32)


def _settle(
    module: nn.Module, held: Tensor, before: int, margin: int, hop: int, *, last: bool
) -> tuple[Tensor, Tensor, int]:
    """Output for the frames whose surroundings are there.

    `held` [B, C, n] begins with `before` frames that were settled earlier and stay as context. Returns the
    output of the newly settled ones, what to hold from here on, and how many of those are context.
    """
    n = held.shape[-1]
    stop = n if last else max(before, n - margin)
    if stop <= before:
        return held.new_zeros(len(held), 1, 0), held, before
    keep = min(stop, margin)
    kept = held[..., stop - keep :].clone()  # the module overwrites what it is given
    return module(held)[..., before * hop : stop * hop], kept, keep
