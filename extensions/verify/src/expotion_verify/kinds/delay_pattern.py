"""`delay_pattern`: the codes' layout for training (valid steps) and generation (all), there and back. Exact."""

from __future__ import annotations

from typing import Any

import torch

from expotion.contracts import GoldenFile
from expotion.musicgen import delay
from expotion_verify.tensors import tensor

UNKNOWN = -1
LAYOUTS = {"full": False, "valid": True}


def check(golden: GoldenFile) -> None:
    """Every case: sequence, index table and mask of both layouts; codes and logits back; first steps."""
    for case in golden.setting("cases"):
        _check_case(golden, case)


def _check_case(golden: GoldenFile, case: dict[str, Any]) -> None:
    name = f"case{case['case']}"
    codes = tensor(golden, f"{name}/codes")
    n_frames, special = codes.shape[2], int(case["special_token"])
    # Empty steps at the start are the same as being that much later in every codebook.
    delays = [int(late) + int(case.get("empty_initial", 0)) for late in case["delays"]]
    for layout, valid_only in LAYOUTS.items():
        at = f"{name}/{layout}"
        sequence = delay.build(codes, special, delays=delays, valid_only=valid_only)
        golden.compare("sequence", sequence, f"{at}_sequence", 0.0)
        golden.compare(
            "indexes", delay.indexes(n_frames, delays, valid_only=valid_only), f"{at}_indexes", 0.0
        )
        golden.compare("mask", delay.filled(n_frames, delays, valid_only=valid_only), f"{at}_mask", 0.0)
        back, mask = delay.revert(sequence, n_frames, UNKNOWN, delays=delays)
        golden.compare("codes back", back, f"{at}_revert", 0.0)
        golden.compare("codes back: mask", mask, f"{at}_revert_mask", 0.0)
        indexes = delay.revert_indexes(n_frames, delays, valid_only=valid_only)
        golden.compare("codes back: indexes", indexes, f"{at}_revert_indexes", 0.0)
        logits = tensor(golden, f"{at}_logits_in").permute(0, 2, 3, 1)  # [B, V, K, S] in the file
        reverted, scored = delay.revert_logits(logits, n_frames, delays=delays)
        golden.compare("logits back", reverted.permute(0, 3, 1, 2), f"{at}_logits_revert", 0.0)
        golden.compare("logits back: mask", scored, f"{at}_logits_revert_mask", 0.0)
    first = torch.arange(n_frames) + 1 + min(delays)
    golden.compare("first step of each frame", first, f"{name}/first_step", 0.0)
