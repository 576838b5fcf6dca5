"""The prefix stream: hidden states that carry the controls through the frozen layers.

Each adapted layer has an embedding Z_i of the latents z [B, R, r] of all controls:

    Z_i = W_e,i z + pos_i            W_e,i [d, r], Z_i [B, R, d]

positions  `sinusoidal`: pos_i = c_i * MusicGen's own table, c_i learned: any length.
           `table`:      pos_i a learned [R, d] per layer, as in the released code.
           `fused`:      paper eq. 6: Z = W_e (z + pos), pos a learned [R, r].
fusion     one W_e per layer (released code) or one for all (paper).
start      O_0: a learned [R, d] (paper's H_0^p, released code), or a learned vector [d] plus the sinusoid, which
           serves any length.

For adapted layer i, frozen layer l = s + i:

    A   = LN1_l(O_i) + Z_i                            the norm acts on O_i only
    q, k, v = heads(W_qkv,l A)                        kept, with the gate g_i, for layer l of the model
    U   = O_i + W_out,l SDPA(q, k, v)                 full attention (paper) or causal (released code)
    O_{i+1} = U + FFN_l(LN2_l(U))

No cross-attention. O_L would be thrown away, so the last layer stops at q, k, v. With `prefix_block: attention`
the recursion is the paper's: A = O_i + Z_i and O_{i+1} = W_out,l SDPA(q, k, v), no norm, residual or FFN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from expotion.adaptor.config import AdaptorConfig
from expotion.errors import ExpotionError, Problem
from expotion.musicgen.attention import attend
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix

FrozenLM = MusicGenLM | Engine
"""The frozen model, or an engine made from it, whose layers the stream runs through."""


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
            wanted = f"at most {self.config.max_rows} rows, the length of its learned tables"
            fix = "generate in windows, or train with positions: sinusoidal and start: vector"
            raise ExpotionError(Problem("adaptor", wanted, str(n_rows), fix))

    def first_hidden(self, lm: FrozenLM, n_rows: int, start: int = 0) -> Tensor:
        """O_0 in the model's type, [R, d], of rows that begin at position `start`."""
        if self.config.start == "table":
            return self.start[start : start + n_rows].to(lm.dtype)
        return (self.start + lm.position_table(start, n_rows)).to(lm.dtype)

    def forward(self, lm: FrozenLM, layer: int, latent: Tensor, start: int = 0) -> Tensor:
        """Z_l of adapted layer `layer` (0-based) in the model's type: latent [B, R, r] to [B, R, d]."""
        n_rows = latent.shape[1]
        weight = self.fusion[layer if self.config.fusion == "per_layer" else 0]
        if self.config.positions == "fused" and self.position_table is not None:
            latent = latent + self.position_table[start : start + n_rows]
        embedded = functional.linear(latent.to(lm.dtype), weight.to(lm.dtype))
        if self.config.positions == "table" and self.position_table is not None:
            return embedded + self.position_table[layer, start : start + n_rows].to(lm.dtype)
        if self.position_scale is not None:
            return embedded + (self.position_scale[layer] * lm.position_table(start, n_rows)).to(lm.dtype)
        return embedded


def run_prefix(
    lm: FrozenLM,
    config: AdaptorConfig,
    start: Tensor,
    embedding: Callable[[int], Tensor],
    gates: Tensor,
    *,
    active: Tensor | None,
    rows: Tensor | None,
    row_limit: int,
    recompute: bool = False,
    past: Prefix | None = None,
    causal: bool | None = None,
) -> Prefix:
    """Run the stream. start [R, d] is O_0; embedding(i) gives Z_i [Bp, R, d]; gates [n_adapted].

    `recompute` keeps only each layer's hidden state, q, k and v for the backward pass. `past`: rows that were made
    before, which the new ones see and come behind, each seeing those up to itself; the result holds the new ones.
    `causal` overrides the config's.
    """
    hidden = start[None]  # (1, R, d): the same for every clip until the first attention
    causal = config.prefix_attention == "causal" if causal is None else causal
    n_past = 0 if past is None else past.n_rows
    seen = None if past is None else torch.ones(len(start), n_past + len(start)).tril(n_past).bool()
    whole = config.prefix_block == "layer"
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def step(hidden: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        layer = lm.block(config.first_adapted_layer + index)
        normed = layer.norm1(hidden) if whole else hidden
        # both attentions that read them want them in one piece, and would each keep a copy for the backward pass
        q, k, v = (part.contiguous() for part in layer.heads(normed + embedding(index)))
        if index == config.n_adapted - 1:
            return q, k, v, None
        keys, values = (
            (k, v) if past is None else (torch.cat([past.k[index], k], 2), torch.cat([past.v[index], v], 2))
        )
        attended = layer.merge_heads(attend(q, keys, values, causal=causal and past is None, mask=seen))
        if not whole:
            return q, k, v, attended
        hidden = hidden + attended
        return q, k, v, hidden + layer.feed_forward(hidden)

    following: Tensor | None = hidden
    for index in range(config.n_adapted):
        assert following is not None
        if recompute and torch.is_grad_enabled():
            q, k, v, following = checkpoint(step, following, index, use_reentrant=False, preserve_rng_state=False)
        else:
            q, k, v, following = step(following, index)
        kept.append((q, k, v))
    return Prefix(
        first_layer=config.first_adapted_layer,
        q=tuple(q for q, _, _ in kept),
        k=tuple(k for _, k, _ in kept),
        v=tuple(v for _, _, v in kept),
        gates=tuple(gates.unbind(0)),
        active=active,
        rows=rows,
        row_limit=row_limit,
    )
