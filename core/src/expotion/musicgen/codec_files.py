"""Codecs from files: transformers' names, with old and new weight norm, and audiocraft's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from expotion.errors import Problem, WeightsError
from expotion.musicgen.codec import Codec
from expotion.musicgen.encodec import Encodec, EncodecSettings
from expotion.weights import fill, settings_of, undrawn

_NORM_NAMES = (
    (re.compile(r"\.weight_g$"), ".parametrizations.weight.original0"),
    (re.compile(r"\.weight_v$"), ".parametrizations.weight.original1"),
)
_AUDIOCRAFT_NAMES = (
    (re.compile(r"^(encoder|decoder)\.model\."), r"\1.layers."),
    (re.compile(r"\.conv\.conv\."), ".conv."),
    (re.compile(r"\.convtr\.convtr\."), ".conv."),
    (re.compile(r"^quantizer\.vq\.layers\."), "quantizer.layers."),
    (re.compile(r"\._codebook\."), ".codebook."),
    *_NORM_NAMES,
)


def _renamed(tensors: Mapping[str, Tensor], rules: Sequence[tuple[re.Pattern[str], str]]) -> dict[str, Tensor]:
    for pattern, replacement in rules:
        tensors = {pattern.sub(replacement, name): tensor for name, tensor in tensors.items()}
    return dict(tensors)


def _build(tensors: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> Codec:
    """A codec from tensors in transformers' names. Strict: every mismatch is listed in one WeightsError."""
    settings = settings_of(EncodecSettings, config, f"{where} audio_encoder.")
    with undrawn():
        model = Encodec(settings)
    fill(model, _renamed(tensors, _NORM_NAMES), where)
    return Codec(model)


def codec_from_hf(tensors: Mapping[str, Tensor], config: Mapping[str, Any], where: str) -> Codec:
    """A codec from a transformers configuration (the `audio_encoder` of MusicGen's) and its tensors."""
    if config.get("model_type", "encodec") != "encodec":
        raise WeightsError(Problem(f"{where} audio_encoder", "model_type encodec", repr(config["model_type"])))
    return _build(tensors, config, where)


def codec_from_audiocraft(tensors: Mapping[str, Tensor], settings: Mapping[str, Any], where: str) -> Codec:
    """A codec from audiocraft's tensors and its training configuration (`seanet`, `rvq`, `sample_rate`)."""
    seanet, rvq = settings.get("seanet", {}), settings.get("rvq", {})
    ratios = [int(ratio) for ratio in seanet.get("ratios", (8, 5, 4, 4))]
    sample_rate_hz = int(settings.get("sample_rate", 32000))
    card, n_codebooks = int(rvq.get("bins", 2048)), int(rvq.get("n_q", 4))
    rate_hz = math.ceil(sample_rate_hz / math.prod(ratios))
    fixed = {"causal": False, "norm": "weight_norm", "true_skip": True, "activation": "ELU", "channels": 1}
    problems = [
        Problem(f"{where} seanet.{key}", f"to be {value!r}", repr(seanet[key]))
        for key, value in fixed.items()
        if seanet.get(key, value) != value
    ]
    if settings.get("encodec", {}).get("renormalize", False):
        problems.append(Problem(f"{where} encodec.renormalize", "to be false", "true"))
    if problems:
        raise WeightsError(problems)
    width = int(seanet.get("dimension", 128))
    config = dict(
        # a hair above the exact rate: the number of codebooks is a floor of this
        target_bandwidths=[n_codebooks * rate_hz * math.log2(card) / 1000.0 + 1e-6],
        sampling_rate=sample_rate_hz,
        audio_channels=1,
        normalize=False,
        hidden_size=width,
        codebook_dim=width,
        codebook_size=card,
        num_filters=int(seanet.get("n_filters", 64)),
        num_residual_layers=int(seanet.get("n_residual_layers", 1)),
        upsampling_ratios=ratios,
        kernel_size=int(seanet.get("kernel_size", 7)),
        last_kernel_size=int(seanet.get("last_kernel_size", 7)),
        residual_kernel_size=int(seanet.get("residual_kernel_size", 3)),
        dilation_growth_rate=int(seanet.get("dilation_base", 2)),
        use_causal_conv=False,
        pad_mode=str(seanet.get("pad_mode", "constant")),
        compress=int(seanet.get("compress", 2)),
        num_lstm_layers=int(seanet.get("lstm", 2)),
        use_conv_shortcut=False,
    )
    return _build(_renamed(tensors, _AUDIOCRAFT_NAMES), config, where)
