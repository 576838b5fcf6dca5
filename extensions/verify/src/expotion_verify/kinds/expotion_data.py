"""`expotion_data`: what the authors' loader and inference script make of features, codes, captions and masks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from expotion.contracts import GoldenFile
from expotion.errors import ExpotionError, Problem
from expotion_verify import data as released_data
from expotion_verify.tensors import number, tensor

INTERPOLATION = 1e-4
"""Sample positions are rounded in float32; against float64 arithmetic the authors' own rows are 7e-5 off."""
LOADER_SEED = 42
INFERENCE_OFFSET_S = 5
"""The shipped script's option, which does nothing."""


def check(golden: GoldenFile) -> None:
    """Clips one by one, the picture helper, long crops, masks draw by draw, captions."""
    seconds = int(golden.setting("config", "sample_sec"))
    rate_hz = int(golden.setting("config", "frame_res"))
    n_frames = seconds * rate_hz
    for index in _numbers(golden, r"in/feature_(\d+)"):
        features = tensor(golden, f"in/feature_{index}")
        rows = released_data.motion_features(features, n_frames)
        golden.compare("features", rows, f"out/features_{index}", INTERPOLATION)
        stretched = released_data.stretch(features, n_frames)[None]
        cropped = released_data.inference_crop(
            stretched, INFERENCE_OFFSET_S, rate_hz=rate_hz, duration_s=seconds
        )
        golden.compare("inference features", cropped[0], f"out/inference_{index}", INTERPOLATION)
        golden.compare("padding row", rows[-1], np.zeros(rows.shape[1]), 0.0)
    for index in _numbers(golden, r"in/rvq_(\d+)"):
        codes = released_data.fit_codes(tensor(golden, f"in/rvq_{index}"), n_frames)
        golden.compare("codes", codes, f"out/mix_{index}", 0.0)
    image = released_data.image_features(tensor(golden, "in/video_map"), n_frames)
    golden.compare("picture features", image, "out/video_map", INTERPOLATION)
    _check_crops(golden, rate_hz, seconds)
    _check_masks(golden)
    _check_captions(golden)


def _numbers(golden: GoldenFile, pattern: str) -> list[str]:
    return [found.group(1) for found in _matches(golden, pattern)]


def _matches(golden: GoldenFile, pattern: str) -> Iterator[re.Match[str]]:
    found = [match for name in golden.names if (match := re.fullmatch(pattern, name))]
    if not found:
        raise ExpotionError(Problem("expotion_data", f"arrays named {pattern}", "none"))
    return iter(found)


def _check_crops(golden: GoldenFile, rate_hz: int, duration_s: int) -> None:
    track = tensor(golden, "in/crop_long")
    for offset in _numbers(golden, r"out/crop_long_off([\d.]+)"):
        cropped = released_data.inference_crop(track, float(offset), rate_hz=rate_hz, duration_s=duration_s)
        golden.compare("crop of a long track", cropped, f"out/crop_long_off{offset}", 0.0)


def _check_masks(golden: GoldenFile) -> None:
    """Consecutive draws of a fresh loader; the columns are three moments of a mask that is constant over time."""
    rank = int(golden.setting("config", "rid"))
    seed = int(golden.setting("config").get("RandomState seed", LOADER_SEED))
    if seed != LOADER_SEED:  # then it is the whole seed, the rank's share included
        seed -= 100 * rank
    wanted = golden.array("mask/track")
    masks = released_data.ConditionMasks(rank, seed)
    drawn = [masks.spread(masks.by_track(), wanted.shape[2]) for _ in wanted]
    golden.compare("masks by track", np.array(drawn), wanted, 0.0)
    for found in _matches(golden, r"mask/prob_([\d.]+)_([\d.]+)"):
        both, each = float(found.group(1)), float(found.group(2))
        wanted = golden.array(found.group(0))
        masks = released_data.ConditionMasks(rank, seed)
        drawn = [masks.spread(masks.by_probability(both, each), wanted.shape[2]) for _ in wanted]
        golden.compare("masks by probability", np.array(drawn), wanted, 0.0)


def _check_captions(golden: GoldenFile) -> None:
    raw, cleaned = number(golden, "captions_raw", []), number(golden, "captions_cleaned", [])
    ours = [released_data.clean_caption(text) for text in raw]
    differing = sum(mine != theirs for mine, theirs in zip(ours, cleaned, strict=True))
    golden.compare("captions that differ", np.array(float(differing)), np.array(0.0), 0.0)
