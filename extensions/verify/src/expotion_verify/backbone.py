"""Golden files of MusicGen's language model and of the delay pattern of its codes (audiocraft's)."""

from __future__ import annotations

import numpy as np
import torch

from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion_verify.tensors import CFG_SCALE, LOGITS, compare_generation, language_model, tensor

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
            sequence = delay.build(codes, special, delays=delays, valid_only=valid_only)
            golden.compare("sequence", sequence, f"{at}_sequence", 0.0)
            # Numbered cells go where codes go; K T (K S on the way back) stands where there is none.
            cells = torch.arange(len(delays) * n_frames).view(1, len(delays), n_frames)
            indexes = delay.build(cells, cells.numel(), delays=delays, valid_only=valid_only)[0]
            golden.compare("indexes", indexes, f"{at}_indexes", 0.0)
            golden.compare("mask", indexes < cells.numel(), f"{at}_mask", 0.0)
            back, mask = delay.revert(sequence, n_frames, UNKNOWN, delays=delays)
            golden.compare("codes back", back, f"{at}_revert", 0.0)
            golden.compare("codes back: mask", mask, f"{at}_revert_mask", 0.0)
            steps = torch.arange(indexes.numel()).view(1, *indexes.shape)
            indexes = delay.revert(steps, n_frames, steps.numel(), delays=delays)[0][0]
            golden.compare("codes back: indexes", indexes, f"{at}_revert_indexes", 0.0)
            logits = tensor(golden, f"{at}_logits_in").permute(0, 2, 3, 1)  # [B, V, K, S] in the file
            reverted, scored = delay.revert_logits(logits, n_frames, delays=delays)
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
    sequence = delay.build(codes, special, valid_only=True)
    logits, mask = delay.revert_logits(lm(sequence, source), codes.shape[2])
    golden.compare("mask", mask.expand(len(codes), -1, -1), "out/mask", 0.0)
    golden.compare("logits", logits, "out/logits", LOGITS)
    golden.compare("raw logits", lm(tensor(golden, "in/raw_sequence"), source), "out/raw_logits", LOGITS)

    scale = float(golden.about.get("cfg_coef", CFG_SCALE))
    for run, prompt in (("greedy", None), ("prompted", tensor(golden, "gen/prompt"))):
        compare_generation(golden, lm, source, run, quantity=run, prompt=prompt, cfg_scale=scale)
