"""One set of random weights in the three layouts: ours, audiocraft's names, transformers' names."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from expotion.musicgen.decoder import MusicGenLM
from expotion.musicgen.geometry import LMGeometry

NORMS = {"norm1": "norm1", "norm_cross": "norm_cross", "norm2": "norm2"}
HF_NORMS = {"norm1": "self_attn_layer_norm", "norm_cross": "encoder_attn_layer_norm", "norm2": "final_layer_norm"}


def random_lm(geometry: LMGeometry, seed: int = 0, device: str = "cpu") -> MusicGenLM:
    """Gaussian weights of the variance that keeps activations at one, heads larger so that tokens are distinct."""
    with torch.device(device):
        lm = MusicGenLM(geometry)
    generator = torch.Generator(device).manual_seed(seed)
    for name, weight in lm.named_parameters():
        if weight.dim() == 2:
            scale = 1.0 if "embedding" in name else 1.0 / math.sqrt(weight.shape[1])
            scale *= 3.0 if "output_heads" in name else 1.0
            weight.normal_(0.0, scale, generator=generator)
        elif "norm" in name:
            weight.add_(torch.randn(weight.shape, generator=generator, device=device), alpha=0.1)
    return lm


def _tables(lm: MusicGenLM) -> tuple[list[Tensor], list[Tensor]]:
    k = lm.geometry.n_codebooks
    return list(lm.embedding.weight.chunk(k)), list(lm.output_heads.weight.chunk(k))


def for_audiocraft(lm: MusicGenLM) -> dict[str, Tensor]:
    """audiocraft's names; its cross-attention keeps q, k, v in one matrix."""
    embeddings, heads = _tables(lm)
    out = {f"emb.{k}.weight": t for k, t in enumerate(embeddings)}
    out |= {f"linears.{k}.weight": t for k, t in enumerate(heads)}
    out |= {"out_norm.weight": lm.norm_out.weight, "out_norm.bias": lm.norm_out.bias}
    for index in range(lm.n_layers):
        layer, name = lm.block(index), f"transformer.layers.{index}"
        out[f"{name}.self_attn.in_proj_weight"] = layer.qkv.weight
        out[f"{name}.self_attn.out_proj.weight"] = layer.out.weight
        out[f"{name}.cross_attention.in_proj_weight"] = torch.cat([layer.cross_q.weight, layer.cross_kv.weight])
        out[f"{name}.cross_attention.out_proj.weight"] = layer.cross_out.weight
        out[f"{name}.linear1.weight"] = layer.ffn_in.weight
        out[f"{name}.linear2.weight"] = layer.ffn_out.weight
        for ours, theirs in NORMS.items():
            norm = getattr(layer, ours)
            out[f"{name}.{theirs}.weight"], out[f"{name}.{theirs}.bias"] = norm.weight, norm.bias
    return {name: tensor.detach().contiguous() for name, tensor in out.items()}


def for_transformers(lm: MusicGenLM) -> dict[str, Tensor]:
    """Names of transformers' MusicgenForCausalLM."""
    embeddings, heads = _tables(lm)
    out = {f"model.decoder.embed_tokens.{k}.weight": t for k, t in enumerate(embeddings)}
    out |= {f"lm_heads.{k}.weight": t for k, t in enumerate(heads)}
    out |= {
        "model.decoder.layer_norm.weight": lm.norm_out.weight,
        "model.decoder.layer_norm.bias": lm.norm_out.bias,
    }
    for index in range(lm.n_layers):
        layer, name = lm.block(index), f"model.decoder.layers.{index}"
        cross_k, cross_v = layer.cross_kv.weight.chunk(2)
        for part, weight in zip("qkv", layer.qkv.weight.chunk(3), strict=True):
            out[f"{name}.self_attn.{part}_proj.weight"] = weight
        for part, weight in zip("qkv", (layer.cross_q.weight, cross_k, cross_v), strict=True):
            out[f"{name}.encoder_attn.{part}_proj.weight"] = weight
        out[f"{name}.self_attn.out_proj.weight"] = layer.out.weight
        out[f"{name}.encoder_attn.out_proj.weight"] = layer.cross_out.weight
        out[f"{name}.fc1.weight"] = layer.ffn_in.weight
        out[f"{name}.fc2.weight"] = layer.ffn_out.weight
        for ours, theirs in HF_NORMS.items():
            norm = getattr(layer, ours)
            out[f"{name}.{theirs}.weight"], out[f"{name}.{theirs}.bias"] = norm.weight, norm.bias
    return {name: tensor.detach() for name, tensor in out.items()}
