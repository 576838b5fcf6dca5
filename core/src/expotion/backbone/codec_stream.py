"""EnCodec's decoder piece by piece, equal to decoding everything at once.

The decoder is a convolution, an LSTM that runs forwards, and a stack of convolutions that see a few frames to
either side. The LSTM's state is carried from piece to piece; the others get the frames around a piece, and
what those would spoil is cut off. The edges of the sound are padded as they are in one go. Memory is that of
a piece.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expotion.backbone.codec import Codec

FIRST_MARGIN = 4
"""Frames to either side that the first convolution may see (its kernel of 7 sees 3)."""
STACK_MARGIN = 3
"""Frames to either side that the upsampling stack may see; 2 are enough for ratios of 8, 5, 4, 4."""


class CodecStream:
    """Push codes, get samples; `finish` gives the rest. One sound per stream."""

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
        """Codes [K, n], n > 0, to the samples that they settle: float32 [m], perhaps none yet."""
        if codes.shape[-1] == 0:
            return np.zeros(0, np.float32)
        codec = self._codec
        latent = codec.model.quantizer.decode(codes[None].to(codec.model.device).transpose(0, 1))
        self._latent = latent if self._latent is None else torch.cat([self._latent, latent], dim=-1)
        return self._advance(last=False)

    @torch.inference_mode()
    def finish(self) -> NDArray[np.float32]:
        """The samples that waited for what comes after them."""
        return np.zeros(0, np.float32) if self._latent is None else self._advance(last=True)

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
            return np.zeros(0, np.float32)
        wave, self._hidden, self._hidden_before = _settle(
            self._stack, self._hidden, self._hidden_before, STACK_MARGIN, self._codec.hop, last=last
        )
        return np.asarray(wave[0, 0].cpu().numpy(), dtype=np.float32)


def _settle(
    module: nn.Module, held: Tensor, before: int, margin: int, hop: int, *, last: bool
) -> tuple[Tensor, Tensor, int]:
    """Output for the frames whose surroundings are there.

    `held` [1, C, n] begins with `before` frames that were settled earlier and stay as context. Returns the
    output of the newly settled ones, what to hold from here on, and how many of those are context.
    """
    n = held.shape[-1]
    stop = n if last else max(before, n - margin)
    if stop <= before:
        return held.new_zeros(1, 1, 0), held, before
    out = module(held)[..., before * hop : stop * hop]
    keep = min(stop, margin)
    return out, held[..., stop - keep :], keep
