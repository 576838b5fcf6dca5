"""The joint embedding of each adapted layer, and the prefix stream's first hidden state.

    Z_l = W_e,l z + pos_l            z [B, R, r] the concatenated latents, W_e,l [d, r], Z_l [B, R, d]

positions  `sinusoidal`: pos_l = c_l * MusicGen's own table, c_l learned: any length.
           `table`:      pos_l a learned [R, d] per layer, as in the released code.
           `fused`:      paper eq. 6: Z = W_e (z + pos), pos a learned [R, r].
fusion     one W_e per layer (released code) or one for all (paper).
start      O_0: a learned [R, d] (paper's H_0^p, released code), or a learned vector [d] plus the sinusoid, which
           serves any length.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from expotion.adaptor.config import AdaptorConfig
from expotion.adaptor.prefix import FrozenLM
from expotion.errors import ExpotionError, Problem


class LayerEmbedding(nn.Module):
    """W_e,l, positions and O_0. Initial values: the released code's (uniform maps, standard normal tables)."""

    def __init__(self, config: AdaptorConfig) -> None:
        super().__init__()
        self.config = config
        n_fusions = config.n_adapted if config.fusion == "per_layer" else 1
        bound = config.latent_width**-0.5
        rows = config.max_rows or 0
        self.fusion = nn.Parameter(
            torch.empty(n_fusions, config.width, config.latent_width).uniform_(-bound, bound)
        )
        self.position_scale: nn.Parameter | None = None
        self.position_table: nn.Parameter | None = None
        if config.positions == "sinusoidal":
            self.position_scale = nn.Parameter(torch.ones(config.n_adapted))
        elif config.positions == "table":
            self.position_table = nn.Parameter(torch.randn(config.n_adapted, rows, config.width))
        else:
            self.position_table = nn.Parameter(torch.randn(rows, config.latent_width))
        shape = (rows, config.width) if config.start == "table" else (config.width,)
        self.start = nn.Parameter(torch.randn(shape))

    def check_length(self, n_rows: int) -> None:
        """ExpotionError when learned tables are shorter than the clip."""
        if self.config.needs_max_rows and n_rows > (self.config.max_rows or 0):
            raise ExpotionError(
                Problem(
                    "adaptor",
                    f"at most {self.config.max_rows} rows, the length of its learned tables",
                    f"{n_rows}",
                    "generate in windows, or train with positions: sinusoidal and start: vector",
                )
            )

    def first_hidden(self, lm: FrozenLM, n_rows: int) -> Tensor:
        """O_0 in the model's type, [R, d]."""
        if self.config.start == "table":
            return self.start[:n_rows].to(lm.dtype)
        return (self.start + lm.position_table(0, n_rows)).to(lm.dtype)

    def forward(self, lm: FrozenLM, layer: int, latent: Tensor) -> Tensor:
        """Z_l of adapted layer `layer` (0-based) in the model's type: latent [B, R, r] to [B, R, d]."""
        n_rows = latent.shape[1]
        weight = self.fusion[layer if self.config.fusion == "per_layer" else 0]
        if self.config.positions == "fused" and self.position_table is not None:
            latent = latent + self.position_table[:n_rows]
        embedded = functional.linear(latent.to(lm.dtype), weight.to(lm.dtype))
        if self.config.positions == "table" and self.position_table is not None:
            return embedded + self.position_table[layer, :n_rows].to(lm.dtype)
        if self.position_scale is not None:
            return embedded + (self.position_scale[layer] * lm.position_table(0, n_rows)).to(lm.dtype)
        return embedded
