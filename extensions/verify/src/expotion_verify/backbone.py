"""Golden files of the backbone: MusicGen's language model, the delay pattern of its codes, and EnCodec."""

from __future__ import annotations

import numpy as np
import torch

from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion.musicgen.codec_files import codec_from_audiocraft, codec_from_hf
from expotion_verify.tensors import LOGITS, compare_generation, language_model, tensor, tensors

CODEC = 1e-5
"""On latents and sound of order one; codes are exact. The same library on the same machine gives 0."""
SEANET_KEYS = (
    *("dimension", "n_filters", "ratios", "pad_mode", "kernel_size", "last_kernel_size", "residual_kernel_size"),
    *("dilation_base", "n_residual_layers", "compress", "lstm", "causal", "norm"),
)
UNKNOWN = -1


def check_delay_pattern(golden: GoldenFile) -> None:
    """The codes' layout for training (valid steps) and generation (all), there and back. Exact.

    Every case: sequence, index table and mask of both layouts; codes and logits back; first steps.
    """
    for case in golden.setting("cases"):
        name = f"case{case['case']}"
        codes = tensor(golden, f"{name}/codes")
        n_frames, special = codes.shape[2], int(case["special_token"])
        # Empty steps at the start are the same as being that much later in every codebook.
        delays = [int(late) + int(case.get("empty_initial", 0)) for late in case["delays"]]
        for layout, valid_only in (("full", False), ("valid", True)):
            at = f"{name}/{layout}"
            sequence = delay.build(codes, special, delays, valid_only=valid_only)
            golden.compare("sequence", sequence, f"{at}_sequence", 0.0)
            # Numbered cells go where codes go; K T (K S on the way back) stands where there is none.
            cells = torch.arange(len(delays) * n_frames).view(1, len(delays), n_frames)
            indexes = delay.build(cells, cells.numel(), delays, valid_only=valid_only)[0]
            golden.compare("indexes", indexes, f"{at}_indexes", 0.0)
            golden.compare("mask", indexes < cells.numel(), f"{at}_mask", 0.0)
            back, mask = delay.revert(sequence, n_frames, UNKNOWN, delays)
            golden.compare("codes back", back, f"{at}_revert", 0.0)
            golden.compare("codes back: mask", mask, f"{at}_revert_mask", 0.0)
            steps = torch.arange(indexes.numel()).view(1, *indexes.shape)
            indexes = delay.revert(steps, n_frames, steps.numel(), delays)[0][0]
            golden.compare("codes back: indexes", indexes, f"{at}_revert_indexes", 0.0)
            logits = tensor(golden, f"{at}_logits_in").permute(0, 2, 3, 1)  # [B, V, K, S] in the file
            reverted, scored = delay.revert_logits(logits, n_frames, delays)
            golden.compare("logits back", reverted.permute(0, 3, 1, 2), f"{at}_logits_revert", 0.0)
            golden.compare("logits back: mask", scored, f"{at}_logits_revert_mask", 0.0)
        first = torch.arange(n_frames) + 1 + min(delays)
        golden.compare("first step of each frame", first, f"{name}/first_step", 0.0)


def check_musicgen_lm(golden: GoldenFile) -> None:
    """Logits with their mask (NaN outside), logits of a raw sequence, greedy tokens with guidance."""
    lm = language_model(golden)
    special = lm.geometry.special_token
    stated = int(golden.about.get("special_token_id", special))
    golden.compare("special token", np.array(special), np.array(stated), 0.0)
    source = tensor(golden, "in/cross_source")
    # The source is already projected and multiplied by its mask: exactly zero where the text is padding.
    golden.compare("text mask", (source != 0).any(dim=2).float(), "in/cross_mask", 0.0)

    codes = tensor(golden, "in/codes")
    sequence = delay.build(codes, special, lm.geometry.delays, valid_only=True)
    logits, mask = delay.revert_logits(lm(sequence, source), codes.shape[2], lm.geometry.delays)
    golden.compare("mask", mask.expand(len(codes), -1, -1), "out/mask", 0.0)
    golden.compare("logits", logits, "out/logits", LOGITS)
    golden.compare("raw logits", lm(tensor(golden, "in/raw_sequence"), source), "out/raw_logits", LOGITS)

    for run, prompt in (("greedy", None), ("prompted", tensor(golden, "gen/prompt"))):
        compare_generation(golden, lm, source, run, quantity=run, prompt=prompt)


def check_encodec(golden: GoldenFile) -> None:
    """One set of weights through audiocraft's names and, by the file's key map, through transformers'.

    Latent, codes, quantised latent and sound; then codes and sound again.
    """
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
    golden.compare("latent", ours.latent(wave[:, 0]), "out/latent", CODEC)
    codes = tensor(golden, "out/codes")
    golden.compare("codes", ours.encode(wave[:, 0]), "out/codes", 0.0)
    with torch.no_grad():  # the sum of the codes' embeddings, [B, width, T]
        quantised = ours.model.quantizer.decode(codes.transpose(0, 1))
    golden.compare("quantised latent", quantised, "out/quantized_latent", CODEC)
    golden.compare("sound", ours.decode(codes)[:, None], "out/wave", CODEC)
    # What training left in the codebooks and inference never reads: `inited` is 1, the rest is finite.
    for name, value in state.items():
        if name.endswith("_codebook.inited"):
            golden.compare("codebooks in use", value, np.ones(value.shape), 0.0)
        elif name.endswith(("_codebook.cluster_size", "_codebook.embed_avg")):
            finite = torch.isfinite(value).all().float().numpy()
            golden.compare("codebook statistics finite", finite, np.array(1.0), 0.0)

    key_map: dict[str, str] = golden.setting("key_map_ac_to_hf")
    named = {key_map[name]: value for name, value in state.items()}
    hf_config = golden.setting("hf_config")  # its ratios were written as floats
    hf_config["upsampling_ratios"] = [int(ratio) for ratio in hf_config["upsampling_ratios"]]
    theirs = codec_from_hf(named, hf_config, "hf")
    hf_codes = tensor(golden, "hf/codes")  # [chunk, B, K, T], one chunk
    golden.compare("codes (transformers)", theirs.encode(wave[:, 0])[None], "hf/codes", 0.0)
    golden.compare("sound (transformers)", theirs.decode(hf_codes[0])[:, None], "hf/wave", CODEC)
