"""audiocraft's names and settings in transformers' words: tensors of the language model and the codec, sizes.

emb.k                                   decoder.model.decoder.embed_tokens.k
linears.k                               decoder.lm_heads.k
transformer.layers.n.*                  decoder.model.decoder.layers.n.*, the fused q, k, v split in three
condition_provider...output_proj        enc_to_dec_proj
encoder.model.I, decoder.model.I        audio_encoder.{encoder,decoder}.layers.I
quantizer.vq.layers.q._codebook         audio_encoder.quantizer.layers.q.codebook
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

LM_RULES = (
    (re.compile(r"^emb\.(\d+)\."), r"decoder.model.decoder.embed_tokens.\1."),
    (re.compile(r"^linears\.(\d+)\."), r"decoder.lm_heads.\1."),
    (re.compile(r"^out_norm\."), "decoder.model.decoder.layer_norm."),
    (re.compile(r"^condition_provider\.conditioners\.description\.output_proj\."), "enc_to_dec_proj."),
    (re.compile(r"^transformer\.layers\."), "decoder.model.decoder.layers."),
    (re.compile(r"\.cross_attention\."), ".encoder_attn."),
    (re.compile(r"\.linear1\."), ".fc1."),
    (re.compile(r"\.linear2\."), ".fc2."),
    (re.compile(r"\.norm1\."), ".self_attn_layer_norm."),
    (re.compile(r"\.norm_cross\."), ".encoder_attn_layer_norm."),
    (re.compile(r"\.norm2\."), ".final_layer_norm."),
)
CODEC_RULES = (
    (re.compile(r"^(encoder|decoder)\.model\."), r"\1.layers."),
    (re.compile(r"\.conv\.conv\."), ".conv."),
    (re.compile(r"\.convtr\.convtr\."), ".conv."),
    (re.compile(r"^quantizer\.vq\.layers\."), "quantizer.layers."),
    (re.compile(r"\._codebook\."), ".codebook."),
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)
_FUSED = ".in_proj_weight"


def _renamed(name: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def lm_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The language model's tensors under transformers' names; fused projections as three slices, not copied."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = _renamed(name, LM_RULES)
        if new.endswith(_FUSED):
            stem = new.removesuffix(_FUSED)
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                tensors[f"{stem}.{letter}_proj.weight"] = part
        else:
            tensors[new] = tensor
    return tensors


def codec_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The codec's tensors under the names of transformers' EncodecModel."""
    return {_renamed(name, CODEC_RULES): tensor for name, tensor in state.items()}


def codec_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """transformers' EncodecConfig values from audiocraft's `sample_rate`, `seanet` and `rvq`."""
    seanet, rvq = settings["seanet"], settings["rvq"]
    rate_hz = math.ceil(settings["sample_rate"] / math.prod(seanet["ratios"]))
    return {
        # transformers takes the floor of bandwidth / bits: stay a hair above the exact value
        "target_bandwidths": [rvq["n_q"] * rate_hz * math.log2(rvq["bins"]) / 1000.0 + 1e-6],
        "sampling_rate": settings["sample_rate"],
        "audio_channels": seanet["channels"],
        "normalize": settings["encodec"].get("renormalize", False),
        "hidden_size": seanet["dimension"],
        "codebook_dim": seanet["dimension"],
        "codebook_size": rvq["bins"],
        "num_filters": seanet["n_filters"],
        "num_residual_layers": seanet["n_residual_layers"],
        "upsampling_ratios": list(seanet["ratios"]),
        "kernel_size": seanet["kernel_size"],
        "last_kernel_size": seanet["last_kernel_size"],
        "residual_kernel_size": seanet["residual_kernel_size"],
        "dilation_growth_rate": seanet["dilation_base"],
        "use_causal_conv": seanet["causal"],
        "pad_mode": seanet["pad_mode"],
        "compress": seanet["compress"],
        "num_lstm_layers": seanet["lstm"],
        "trim_right_ratio": (seanet.get("decoder") or {}).get("trim_right_ratio", 1.0),
        "use_conv_shortcut": not seanet["true_skip"],
    }


def decoder_config(lm: Any) -> dict[str, Any]:
    """transformers' MusicgenDecoderConfig values from audiocraft's `LMModel`."""
    layer = lm.transformer.layers[0]
    return {
        "vocab_size": lm.card,
        "hidden_size": lm.dim,
        "num_hidden_layers": len(lm.transformer.layers),
        "num_attention_heads": layer.self_attn.num_heads,
        "ffn_dim": layer.linear1.out_features,
        "num_codebooks": lm.n_q,
        "audio_channels": 1,
        "activation_function": "gelu",
        "scale_embedding": False,
        "dropout": 0.0,
        "pad_token_id": lm.card,
        "bos_token_id": lm.card,
        "eos_token_id": None,
        "tie_word_embeddings": False,
    }
