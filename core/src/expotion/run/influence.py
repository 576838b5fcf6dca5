"""How much the controls have to say at each step: the gated term against the layer's own attention."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from expotion import timeline
from expotion.adaptor.adaptor import Adaptor
from expotion.music.compose import Request, request_inputs, text_sources
from expotion.musicgen import delay
from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.gate import add_gated, gate_input
from expotion.report import Gates

WHAT = "gated term relative to the layer's own attention (RMS)"


@torch.inference_mode()
def gate_influence(lm: MusicGenLM, adaptor: Adaptor, request: Request, codes: Tensor, rate_hz: float) -> Gates:
    """Per step and adapted layer: RMS of g S' over RMS of S.

    Measured in one pass over finished codes [K, T] (teacher forcing); zeros where nothing steers.
    """
    n_frames = codes.shape[-1]
    sequence = delay.build(codes[None], lm.geometry.special_token, lm.geometry.delays, valid_only=True)
    first, n_steps = adaptor.config.first_adapted_layer, sequence.shape[-1]
    layers = list(range(first, lm.n_layers))
    times_s = timeline.step_times_s(n_steps - 1, rate_hz)
    prefix = adaptor(lm, request_inputs(adaptor, [request], 0, n_frames))
    if prefix is None:
        return Gates(times_s, np.zeros((n_steps, len(layers)), np.float32), layers, WHAT)

    source, _ = text_sources(lm, [request.text])  # one prompt: nothing is padded
    x = lm.embed(sequence) + lm.position_table(0, n_steps)
    ratios = []
    for index in range(lm.n_layers):
        layer = lm.block(index)
        q, k, v = layer.heads(layer.norm1(x))
        own = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        attended = own
        if index >= first:
            gate = gate_input(prefix, index - first, n_steps, None)
            attended = add_gated(own, q, gate)
            ratios.append(_rms(attended - own) / _rms(own).clamp_min(1e-9))
        x = x + layer.merge_heads(attended)
        x = x + layer.cross(x, *layer.text_keys(source), None)
        x = x + layer.feed_forward(x)
    return Gates(times_s, torch.stack(ratios, dim=-1).numpy(), layers, WHAT)


def _rms(heads: Tensor) -> Tensor:
    """RMS over heads and channels of [1, h, S, d/h]: float32 [S]."""
    return heads[0].float().square().mean(dim=(0, 2)).sqrt()
