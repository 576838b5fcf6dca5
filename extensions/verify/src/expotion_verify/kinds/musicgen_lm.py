"""`musicgen_lm`: audiocraft's language model on given weights, in training layout, raw, and generating greedily."""

from __future__ import annotations

import numpy as np

from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion_verify.tensors import CFG_SCALE, LOGITS, compare_generation, language_model, number, tensor


def check(golden: GoldenFile) -> None:
    """Logits with their mask (NaN outside), logits of a raw sequence, greedy tokens with guidance."""
    lm = language_model(golden)
    special = lm.geometry.special_token
    golden.compare(
        "special token", np.array(special), np.array(int(number(golden, "special_token_id", special))), 0.0
    )
    source = tensor(golden, "in/cross_source")
    # The source is already projected and multiplied by its mask: exactly zero where the text is padding.
    golden.compare("text mask", (source != 0).any(dim=2).float(), "in/cross_mask", 0.0)

    codes = tensor(golden, "in/codes")
    sequence = delay.build(codes, special, valid_only=True)
    logits, mask = delay.revert_logits(lm(sequence, source), codes.shape[2])
    golden.compare("mask", mask.expand(len(codes), -1, -1), "out/mask", 0.0)
    golden.compare("logits", logits, "out/logits", LOGITS)
    golden.compare("raw logits", lm(tensor(golden, "in/raw_sequence"), source), "out/raw_logits", LOGITS)

    scale = float(number(golden, "cfg_coef", CFG_SCALE))
    names = ("gen/greedy_tokens", "gen/greedy_cfg_logits")
    compare_generation(golden, lm, source, names, quantity="greedy", cfg_scale=scale)
    prompt = tensor(golden, "gen/prompt")
    names = ("gen/prompted_tokens", "gen/prompted_cfg_logits")
    compare_generation(golden, lm, source, names, quantity="prompted", prompt=prompt, cfg_scale=scale)
