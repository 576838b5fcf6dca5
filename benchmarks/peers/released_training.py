"""A training step as the released code takes it, written plainly: every layer adapted, float32, text encoded and
cross-attention keys computed in every step, all logits at once.

It computes what `expotion.train` computes with the released adaptor options (causal prefix, a position table and
a fusion matrix per layer, plain loss), on the same weights, by its own means: see `loss_of`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import T5Config, T5EncoderModel

EPS = 1e-5
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS, TEXT_FFN = 768, 12, 12, 3072


@dataclass
class Trainable:
    """The released adaptor's tensors: positions [L + 1, R, d], gates [L], W [r, D], W_l [d, r] per layer."""

    positions: nn.Parameter
    gates: nn.Parameter
    project: nn.Parameter
    merge: list[nn.Parameter]

    def parameters(self) -> list[nn.Parameter]:
        """All of them."""
        return [self.positions, self.gates, self.project, *self.merge]


def text_encoder() -> Any:
    """T5-base's encoder with random weights."""
    return T5EncoderModel(
        T5Config(
            d_model=TEXT_WIDTH,
            d_kv=TEXT_WIDTH // TEXT_HEADS,
            d_ff=TEXT_FFN,
            num_layers=TEXT_LAYERS,
            num_heads=TEXT_HEADS,
            vocab_size=32128,
        )
    ).eval()


class PlainModel:
    """MusicGen's decoder on the tensors of a `MusicGenLM`, a layer at a time, as a textbook has it."""

    def __init__(self, lm: Any) -> None:
        self.weights: dict[str, Tensor] = dict(lm.state_dict())
        self.geometry = lm.geometry

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            x, (x.shape[-1],), self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], EPS
        )

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"])

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.geometry.n_heads
        return x.view(batch, length, heads, width // heads).transpose(1, 2)

    def _merge(self, x: Tensor) -> Tensor:
        batch, heads, length, width = x.shape
        return x.transpose(1, 2).reshape(batch, length, heads * width)

    def _feed_forward(self, x: Tensor, layer: str) -> Tensor:
        inner = functional.gelu(self._linear(self._norm(x, f"{layer}.norm2"), f"{layer}.ffn_in"))
        return self._linear(inner, f"{layer}.ffn_out")

    def loss_of(
        self, sequence: Tensor, codes: Tensor, features: Tensor, text: Tensor, own: Trainable, table: Tensor
    ) -> Tensor:
        """Mean cross-entropy of codes [B, K, T]; `sequence` [B, K, T + 1] delayed, `text` [B, L, 768] encoded,
        `features` [B, T + 1, D], `table` [T + 1, d] MusicGen's positions."""
        weights, geometry = self.weights, self.geometry
        batch, n_codebooks, length = sequence.shape
        source = functional.linear(text, weights["text_projection.weight"], weights["text_projection.bias"])
        latent = functional.linear(features, own.project)
        prefix = own.positions[0].expand(batch, -1, -1)
        offsets = torch.arange(n_codebooks)[None, :, None] * (geometry.card + 1)
        x = functional.embedding(sequence + offsets, weights["embedding.weight"]).sum(dim=1) + table
        for index in range(geometry.n_layers):
            layer = f"layers.{index}"
            joint = functional.linear(latent, own.merge[index]) + own.positions[index + 1]
            qkv = self._linear(self._norm(prefix, f"{layer}.norm1") + joint, f"{layer}.qkv")
            pq, pk, pv = (self._split(part) for part in qkv.chunk(3, dim=-1))
            attended = functional.scaled_dot_product_attention(pq, pk, pv, is_causal=True)
            prefix = prefix + self._linear(self._merge(attended), f"{layer}.out")
            prefix = prefix + self._feed_forward(prefix, layer)

            qkv = self._linear(self._norm(x, f"{layer}.norm1"), f"{layer}.qkv")
            q, k, v = (self._split(part) for part in qkv.chunk(3, dim=-1))
            attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            steered = functional.scaled_dot_product_attention(q + pq, pk, pv)
            attended = attended + own.gates[index] * steered
            x = x + self._linear(self._merge(attended), f"{layer}.out")
            q = self._split(self._linear(self._norm(x, f"{layer}.norm_cross"), f"{layer}.cross_q"))
            k, v = (self._split(part) for part in self._linear(source, f"{layer}.cross_kv").chunk(2, dim=-1))
            crossed = functional.scaled_dot_product_attention(q, k, v)
            x = x + self._linear(self._merge(crossed), f"{layer}.cross_out")
            x = x + self._feed_forward(x, layer)
        logits = self._linear(self._norm(x, "norm_out"), "output_heads")
        logits = logits.view(batch, length, n_codebooks, geometry.card).transpose(1, 2)
        return _loss(logits, codes)


def _loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Undo the delay with NaN where nothing was predicted, drop those, then one cross-entropy."""
    batch, n_codebooks, n_frames = codes.shape
    aligned = torch.full((batch, n_codebooks, n_frames, logits.shape[-1]), float("nan"))
    for k in range(n_codebooks):
        aligned[:, k, : n_frames - k] = logits[:, k, k:n_frames]
    kept = ~torch.isnan(aligned[..., 0])
    return functional.cross_entropy(aligned[kept], codes[kept])
