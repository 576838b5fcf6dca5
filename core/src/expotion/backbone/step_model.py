"""What generation asks of a language model, so that the model itself and an engine made from it both serve."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from expotion.backbone.decoder import GatedPrefix
from expotion.backbone.geometry import LMGeometry


class StepModel(Protocol):
    """What generation asks of a language model: `MusicGenLM` itself, or an engine made from one.

    `start` makes a state that only this model's `step` reads. `n_layers`, `block` and `position_table` serve the
    adaptor's prefix stream.
    """

    @property
    def geometry(self) -> LMGeometry:
        """Sizes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of activations in the prefix stream."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def n_layers(self) -> int:
        """Number of layers."""
        ...

    def block(self, index: int) -> Any:
        """Layer `index`, 0-based."""
        ...

    def position_table(self, start: int, n: int) -> Tensor:
        """Positions start..start+n-1, [n, d]."""
        ...

    def project_text(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Text encoder output [B, L, text_width] and mask [B, L] to the source [B, L, d]."""
        ...

    def null_text(self, batch: int, length: int) -> Tensor:
        """The source of an absent text."""
        ...

    def start(
        self,
        source: Tensor,
        n_positions: int,
        prefix: GatedPrefix | None = None,
        *,
        source_mask: Tensor | None = None,
    ) -> Any:
        """State for up to `n_positions` steps after a source [B, L, d]."""
        ...

    def step(self, tokens: Tensor, state: Any) -> Tensor:
        """Feed tokens [B, K] or, first, [B, K, S]; logits [B, K, V] of the last."""
        ...
