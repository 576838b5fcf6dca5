"""The prefix stream: hidden states that carry the controls through the frozen layers.

For adapted layer i, frozen layer l = s + i, with O_0 and Z_i from `expotion.adaptor.embedding`:

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
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from expotion.adaptor.config import AdaptorConfig
from expotion.musicgen.attention import attend
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.engine.step import Engine
from expotion.musicgen.gate import Prefix

FrozenLM = MusicGenLM | Engine
"""The frozen model, or an engine made from it, whose layers the stream runs through."""


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
) -> Prefix:
    """Run the stream. start [R, d] is O_0; embedding(i) gives Z_i [Bp, R, d]; gates [n_adapted].

    `recompute` keeps only each layer's hidden state, q, k and v for the backward pass.
    """
    hidden = start[None]  # (1, R, d): the same for every clip until the first attention
    causal = config.prefix_attention == "causal"
    whole = config.prefix_block == "layer"
    kept: list[tuple[Tensor, Tensor, Tensor]] = []

    def step(hidden: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        layer = lm.block(config.first_adapted_layer + index)
        normed = layer.norm1(hidden) if whole else hidden
        # both attentions that read them want them in one piece, and would each keep a copy for the backward pass
        q, k, v = (part.contiguous() for part in layer.heads(normed + embedding(index)))
        if index == config.n_adapted - 1:
            return q, k, v, None
        attended = layer.merge_heads(attend(q, k, v, causal=causal))
        if not whole:
            return q, k, v, attended
        hidden = hidden + attended
        return q, k, v, hidden + layer.feed_forward(hidden)

    following: Tensor | None = hidden
    for index in range(config.n_adapted):
        assert following is not None
        if recompute and torch.is_grad_enabled():
            q, k, v, following = checkpoint(
                step, following, index, use_reentrant=False, preserve_rng_state=False
            )
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
