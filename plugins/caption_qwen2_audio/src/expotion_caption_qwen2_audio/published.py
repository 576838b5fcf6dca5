"""Sizes of the published models, and what their files hold, tensor by tensor: nothing to compute with."""

from __future__ import annotations

import math
from typing import Any

QWEN2_AUDIO_7B: dict[str, Any] = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder",
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
        "num_mel_bins": 128,
        "max_source_positions": 1500,
    },
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 156032,
    },
}
"""Of Qwen2-Audio-7B and its Instruct."""
QWEN2_VL_2B: dict[str, Any] = {
    "text_config": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
    },
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 1536,
        "num_heads": 16,
        "mlp_ratio": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "tie_word_embeddings": True,
}
SIZES = {
    "Qwen/Qwen2-Audio-7B": QWEN2_AUDIO_7B,
    "Qwen/Qwen2-Audio-7B-Instruct": QWEN2_AUDIO_7B,
    "Qwen/Qwen2-VL-2B-Instruct": QWEN2_VL_2B,
}

# The tensors of each file: the shape of `.weight`; + stands for a `.bias` of its first size, * for every layer.
_AUDIO = {
    "audio_tower.conv1": "1280 128 3 +",
    "audio_tower.conv2": "1280 1280 3 +",
    "audio_tower.embed_positions": "1500 1280",
    "audio_tower.layers.*.self_attn.q_proj": "1280 1280 +",
    "audio_tower.layers.*.self_attn.k_proj": "1280 1280",
    "audio_tower.layers.*.self_attn.v_proj": "1280 1280 +",
    "audio_tower.layers.*.self_attn.out_proj": "1280 1280 +",
    "audio_tower.layers.*.self_attn_layer_norm": "1280 +",
    "audio_tower.layers.*.fc1": "5120 1280 +",
    "audio_tower.layers.*.fc2": "1280 5120 +",
    "audio_tower.layers.*.final_layer_norm": "1280 +",
    "audio_tower.layer_norm": "1280 +",
    "multi_modal_projector.linear": "4096 1280 +",
    "language_model.model.embed_tokens": "156032 4096",
    "language_model.model.layers.*.self_attn.q_proj": "4096 4096 +",
    "language_model.model.layers.*.self_attn.k_proj": "4096 4096 +",
    "language_model.model.layers.*.self_attn.v_proj": "4096 4096 +",
    "language_model.model.layers.*.self_attn.o_proj": "4096 4096",
    "language_model.model.layers.*.mlp.gate_proj": "11008 4096",
    "language_model.model.layers.*.mlp.up_proj": "11008 4096",
    "language_model.model.layers.*.mlp.down_proj": "4096 11008",
    "language_model.model.layers.*.input_layernorm": "4096",
    "language_model.model.layers.*.post_attention_layernorm": "4096",
    "language_model.model.norm": "4096",
    "language_model.lm_head": "156032 4096",
}
_VIDEO = {
    "visual.patch_embed.proj": "1280 3 2 14 14",
    "visual.blocks.*.norm1": "1280 +",
    "visual.blocks.*.norm2": "1280 +",
    "visual.blocks.*.attn.qkv": "3840 1280 +",
    "visual.blocks.*.attn.proj": "1280 1280 +",
    "visual.blocks.*.mlp.fc1": "5120 1280 +",
    "visual.blocks.*.mlp.fc2": "1280 5120 +",
    "visual.merger.ln_q": "1280 +",
    "visual.merger.mlp.0": "5120 5120 +",
    "visual.merger.mlp.2": "1536 5120 +",
    "model.embed_tokens": "151936 1536",
    "model.layers.*.self_attn.q_proj": "1536 1536 +",
    "model.layers.*.self_attn.k_proj": "256 1536 +",
    "model.layers.*.self_attn.v_proj": "256 1536 +",
    "model.layers.*.self_attn.o_proj": "1536 1536",
    "model.layers.*.mlp.gate_proj": "8960 1536",
    "model.layers.*.mlp.up_proj": "8960 1536",
    "model.layers.*.mlp.down_proj": "1536 8960",
    "model.layers.*.input_layernorm": "1536",
    "model.layers.*.post_attention_layernorm": "1536",
    "model.norm": "1536",
}
_RENAMED = {
    "qwen2_audio": (
        ("model.language_model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
        ("model.", ""),
    ),
    "qwen2_vl": (("model.language_model.", "model."), ("model.visual.", "visual.")),
}
"""Beginnings of transformers' own names, and what the files have for them; the first that fits."""


def tensors(name: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the files of a published model."""
    hears = "audio_config" in SIZES[name]
    found: dict[str, tuple[int, ...]] = {}
    for place, told in (_AUDIO if hears else _VIDEO).items():
        shape = tuple(int(size) for size in told.split() if size != "+")
        n_layers = 28 if place.startswith("model.layers") else 32
        for layer in range(n_layers if "*" in place else 1):
            one = place.replace("*", str(layer))
            found[f"{one}.weight"] = shape
            if told.endswith("+"):
                found[f"{one}.bias"] = shape[:1]
    return found


def n_bytes(name: str) -> int:
    """Bytes of a published model's tensors, 16 bits a number."""
    return 2 * sum(math.prod(shape) for shape in tensors(name).values())


def name_of(own: str, model_type: str) -> str:
    """The name in the files of a tensor of transformers' model."""
    for begins, becomes in _RENAMED[model_type]:
        if own.startswith(begins):
            return becomes + own.removeprefix(begins)
    return own
