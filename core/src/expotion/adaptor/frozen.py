"""What the adaptor asks of the frozen language model. MusicGen's decoder in `expotion.backbone` offers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor


class FrozenLayer(Protocol):
    """One layer's weights as the prefix stream uses them."""

    @property
    def norm1(self) -> Callable[[Tensor], Tensor]:
        """Norm before self-attention, [B, R, d] to the same."""
        ...

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v [B, h, R, d/h] of a normed input."""
        ...

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
        """Attention of heads [B, h, R, d/h] among themselves."""
        ...

    def merge_heads(self, attended: Tensor) -> Tensor:
        """Output projection of attended heads: [B, R, d]."""
        ...

    def feed_forward(self, x: Tensor) -> Tensor:
        """The feed-forward branch with its norm, without the residual: [B, R, d]."""
        ...


class FrozenLM(Protocol):
    """The model: its layers, its table of positions, its number type."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""
        ...

    def block(self, index: int) -> FrozenLayer:
        """Layer `index`, 0-based."""
        ...

    def position_table(self, start: int, n: int) -> Tensor:
        """Sinusoidal positions start..start+n-1, [n, d]."""
        ...
