"""Golden files of EnCodec: one set of weights through audiocraft's names and, by the key map, transformers'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from expotion.contracts import GoldenFile
from expotion.musicgen.codec import codec_from_audiocraft, codec_from_hf
from expotion_verify.tensors import tensor, tensors

TOLERANCE = 1e-5
"""On latents and sound of order one; codes are exact. The same library on the same machine gives 0."""
SEANET_KEYS = (
    *(
        "dimension",
        "n_filters",
        "ratios",
        "pad_mode",
        "kernel_size",
        "last_kernel_size",
        "residual_kernel_size",
    ),
    *("dilation_base", "n_residual_layers", "compress", "lstm", "causal", "norm"),
)


def check_encodec(golden: GoldenFile) -> None:
    """Latent, codes, quantised latent and sound; then codes and sound again through transformers' names."""
    config = golden.setting("config")  # audiocraft's training configuration under short names
    settings = {
        "sample_rate": config["sr"],
        "seanet": {key: config[key] for key in SEANET_KEYS if key in config},
        "rvq": {"n_q": config["n_q"], "bins": config["bins"]},
    }
    state = tensors(golden, "ac/")
    ours = codec_from_audiocraft(state, settings, "ac/")
    wave = tensor(golden, "in/wave")
    if wave.shape[1] != 1:
        raise ValueError(f"in/wave must be mono, got {wave.shape[1]} channels")
    if "hop" in golden.about:
        golden.compare("hop", np.array(ours.hop), np.array(int(golden.setting("hop"))), 0.0)
    golden.compare("latent", ours.latent(wave[:, 0]), "out/latent", TOLERANCE)
    codes = tensor(golden, "out/codes")
    golden.compare("codes", ours.encode(wave[:, 0]), "out/codes", 0.0)
    with torch.no_grad():  # the sum of the codes' embeddings, [B, width, T]
        quantised = ours.model.quantizer.decode(codes.transpose(0, 1))
    golden.compare("quantised latent", quantised, "out/quantized_latent", TOLERANCE)
    golden.compare("sound", ours.decode(codes)[:, None], "out/wave", TOLERANCE)
    # What training left in the codebooks and inference never reads: `inited` is 1, the rest is finite.
    for name, value in state.items():
        if name.endswith("_codebook.inited"):
            golden.compare("codebooks in use", value, np.ones(value.shape), 0.0)
        elif name.endswith(("_codebook.cluster_size", "_codebook.embed_avg")):
            finite = torch.isfinite(value).all().float().numpy()
            golden.compare("codebook statistics finite", finite, np.array(1.0), 0.0)

    key_map: Mapping[str, str] = golden.setting("key_map_ac_to_hf")
    named = {key_map[name]: value for name, value in state.items()}
    hf_config = golden.setting("hf_config")  # its ratios were written as floats
    hf_config["upsampling_ratios"] = [int(ratio) for ratio in hf_config["upsampling_ratios"]]
    theirs = codec_from_hf(named, hf_config, "hf")
    hf_codes = tensor(golden, "hf/codes")  # [chunk, B, K, T], one chunk
    golden.compare("codes (transformers)", theirs.encode(wave[:, 0])[None], "hf/codes", 0.0)
    golden.compare("sound (transformers)", theirs.decode(hf_codes[0])[:, None], "hf/wave", TOLERANCE)
