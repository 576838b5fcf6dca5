"""T5's encoder: attention with learned biases of relative position, RMS norms before, no biases elsewhere.

Modules bear the names that T5's files give their tensors, so that a file is filled in as it is. Inference only: no
dropout, no mask, one text at a time. Source: Raffel et al., "Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer", 2020; held against transformers' T5EncoderModel bit for bit
(tests/test_text_t5.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": lambda x: 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x.pow(3.0)))),
}


class T5Settings(BaseModel):
    """What decides the encoder's shape, with transformers' names and defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["t5"]
    vocab_size: PositiveInt = 32_128
    d_model: PositiveInt = 512
    d_kv: PositiveInt = 64
    d_ff: PositiveInt = 2048
    num_layers: PositiveInt = 6
    num_heads: PositiveInt = 8
    relative_attention_num_buckets: PositiveInt = 32
    relative_attention_max_distance: PositiveInt = 128
    layer_norm_epsilon: PositiveFloat = 1e-6
    feed_forward_proj: Literal["relu", "gated-gelu", "gated-relu"] = "relu"


class T5Encoder(nn.Module):
    """Token ids int64 [n] to hidden states [n, d_model]. Weights are what `fill` puts in."""

    def __init__(self, settings: T5Settings) -> None:
        super().__init__()
        self.settings = settings
        self.shared = nn.Embedding(settings.vocab_size, settings.d_model)
        self.encoder = _Stack(settings, self.shared)

    def forward(self, ids: Tensor) -> Tensor:
        """Hidden states [n, d_model] of ids [n]."""
        return cast(Tensor, self.encoder(ids[None]))[0]


class _Stack(nn.Module):
    def __init__(self, own: T5Settings, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embed_tokens = embedding
        self.block: Any = nn.ModuleList([_Block(own, first=number == 0) for number in range(own.num_layers)])
        self.final_layer_norm = _RMSNorm(own)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embed_tokens(ids)
        # the first layer has the bias of all
        bias = self.block[0].layer[0].SelfAttention.bias(ids.shape[-1])
        for block in self.block:
            hidden = block(hidden, bias)
        return cast(Tensor, self.final_layer_norm(hidden))


class _Block(nn.Module):
    def __init__(self, own: T5Settings, *, first: bool) -> None:
        super().__init__()
        self.layer: nn.ModuleList = nn.ModuleList([_AttentionLayer(own, first=first), _FeedForwardLayer(own)])

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return cast(Tensor, self.layer[1](self.layer[0](hidden, bias)))


class _AttentionLayer(nn.Module):
    def __init__(self, own: T5Settings, *, first: bool) -> None:
        super().__init__()
        self.SelfAttention = _Attention(own, first=first)
        self.layer_norm = _RMSNorm(own)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        return hidden + cast(Tensor, self.SelfAttention(self.layer_norm(hidden), bias))


class _FeedForwardLayer(nn.Module):
    def __init__(self, own: T5Settings) -> None:
        super().__init__()
        gated = own.feed_forward_proj.startswith("gated-")
        self.DenseReluDense = _GatedFeedForward(own) if gated else _FeedForward(own)
        self.layer_norm = _RMSNorm(own)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + cast(Tensor, self.DenseReluDense(self.layer_norm(hidden)))


class _RMSNorm(nn.Module):
    def __init__(self, own: T5Settings) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(own.d_model))
        self._epsilon = own.layer_norm_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self._epsilon))


class _FeedForward(nn.Module):
    """Two linears with an activation between them."""

    def __init__(self, own: T5Settings) -> None:
        super().__init__()
        self.wi = nn.Linear(own.d_model, own.d_ff, bias=False)
        self.wo = nn.Linear(own.d_ff, own.d_model, bias=False)
        self._activation = _ACTIVATIONS[own.feed_forward_proj]

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.wo(self._activation(self.wi(x))))


class _GatedFeedForward(nn.Module):
    """As `_FeedForward`, with a third linear that what was activated is multiplied by."""

    def __init__(self, own: T5Settings) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(own.d_model, own.d_ff, bias=False)
        self.wi_1 = nn.Linear(own.d_model, own.d_ff, bias=False)
        self.wo = nn.Linear(own.d_ff, own.d_model, bias=False)
        self._activation = _ACTIVATIONS[own.feed_forward_proj.removeprefix("gated-")]

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.wo(self._activation(self.wi_0(x)) * self.wi_1(x)))


class _Attention(nn.Module):
    """Attention without scaling; `bias` [1, heads, n, n] is added to the products."""

    def __init__(self, own: T5Settings, *, first: bool) -> None:
        super().__init__()
        self._own = own
        width = own.num_heads * own.d_kv
        self.q, self.k, self.v = (nn.Linear(own.d_model, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, own.d_model, bias=False)
        if first:
            self.relative_attention_bias = nn.Embedding(own.relative_attention_num_buckets, own.num_heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (
            linear(x).unflatten(-1, (-1, self._own.d_kv)).transpose(1, 2) for linear in (self.q, self.k, self.v)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return cast(Tensor, self.o(mixed.transpose(1, 2).flatten(2)))

    def bias(self, n: int) -> Tensor:
        """Bias [1, heads, n, n] by where a token stands from another."""
        positions = torch.arange(n)
        buckets = relative_buckets(
            positions[None] - positions[:, None],
            self._own.relative_attention_num_buckets,
            self._own.relative_attention_max_distance,
        )
        return cast(Tensor, self.relative_attention_bias(buckets)).permute(2, 0, 1)[None].contiguous()


def relative_buckets(offsets: Tensor, n_buckets: int, max_distance: int) -> Tensor:
    """Bucket of each offset, int64: half for later tokens, half for earlier ones.

    Of each half the first half is exact; the rest grows with the logarithm up to `max_distance`, beyond which all
    distances are one bucket.
    """
    half = n_buckets // 2
    exact = half // 2
    distances = offsets.abs()
    far = torch.log(distances.float() / exact) / math.log(max_distance / exact) * (half - exact)
    near_or_far = torch.where(distances < exact, distances, (exact + far.long()).clamp(max=half - 1))
    return near_or_far + half * (offsets > 0)
