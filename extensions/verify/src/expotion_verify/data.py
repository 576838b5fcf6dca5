"""What the authors' loader and inference script do to features, codes, captions and masks (2025 code).

Kept to reproduce their runs and numbers; our own loading works by timestamps and pads nothing. With a clip of
10 s at 50 Hz, n_frames = 500 code frames and n_frames + 1 = 501 feature rows. Their quirks, on purpose:

* features are stretched with both ends pinned, whatever their rate: row j samples j (n - 1) / (n_frames - 1);
* the last feature row is padding (zeros; ones in the unused image helper);
* codes that are too short are padded with code 0, and these frames are trained on;
* the inference offset is ignored for features that have fewer rows than a clip, which they always have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expotion.contracts import GoldenFile
from expotion.errors import ExpotionError, Problem
from expotion_verify.tensors import tensor

FRAME_RATE_HZ = 50
CLIP_S = 10
SEED = 42
INTERPOLATION = 1e-4
"""Sample positions are rounded in float32; against float64 arithmetic the authors' own rows are 7e-5 off."""
INFERENCE_OFFSET_S = 5
"""The shipped script's option, which does nothing."""


def stretch(features: Tensor, n_rows: int) -> Tensor:
    """Linear interpolation with both ends pinned (align_corners): [n, C] to [n_rows, C] float32."""
    return _interpolate(features, n_rows, pinned=True)


def _interpolate(features: Tensor, n_rows: int, *, pinned: bool) -> Tensor:
    if features.dim() != 2 or len(features) == 0:
        raise ExpotionError(f"features must be [n > 0, C], got {list(features.shape)}")
    moved = features.float().T[None]  # (1, C, n)
    return functional.interpolate(moved, n_rows, mode="linear", align_corners=pinned)[0].T


def fit_rows(features: Tensor, n_rows: int) -> Tensor:
    """Zero rows at the end, or rows cut from the end: [.., n, C] to [.., n_rows, C]."""
    kept = features[..., :n_rows, :]
    return functional.pad(kept, (0, 0, 0, n_rows - kept.shape[-2]))


def motion_features(features: Tensor, n_frames: int = CLIP_S * FRAME_RATE_HZ) -> Tensor:
    """The loader's features: stretched to n_frames rows and one zero row: [n, C] to [n_frames + 1, C]."""
    return fit_rows(stretch(features, n_frames), n_frames + 1)


def image_features(maps: Tensor, n_frames: int = CLIP_S * FRAME_RATE_HZ) -> Tensor:
    """The unused image helper: [1, C, n, H, W] to [n_frames + 1, C].

    Mean over the picture, linear interpolation by cell centres (position (j + 0.5) n / n_frames - 0.5, clamped),
    then one row of ones.
    """
    if maps.dim() != 5 or len(maps) != 1:
        raise ExpotionError(f"maps must be [1, C, n, H, W], got {list(maps.shape)}")
    rows = _interpolate(maps[0].mean(dim=(2, 3)).T, n_frames, pinned=False)
    return torch.cat([rows, torch.ones_like(rows[:1])])


def fit_codes(codes: Tensor, n_frames: int = CLIP_S * FRAME_RATE_HZ) -> Tensor:
    """Codes cut to n_frames, or padded with code 0: [K, n] to [K, n_frames]."""
    kept = codes[:, :n_frames]
    return functional.pad(kept, (0, n_frames - kept.shape[1]))


def inference_crop(
    features: Tensor, offset_s: float, *, rate_hz: int = FRAME_RATE_HZ, duration_s: int = CLIP_S
) -> Tensor:
    """The inference script's crop [B, n, C] to [B, duration_s rate_hz + 1, C].

    With fewer rows than that, zeros are appended and the offset does nothing; otherwise rows offset_s rate_hz to
    (offset_s + duration_s) rate_hz inclusive.
    """
    n_rows = duration_s * rate_hz + 1
    if features.shape[1] < n_rows:
        return fit_rows(features, n_rows)
    first = int(offset_s * rate_hz)
    return features[:, first : first + n_rows]


def clean_caption(caption: str) -> str:
    """Markers `<s>`, `</s>` and every newline removed without a space in their place, then stripped."""
    return re.sub(r"</?s>|\n", "", caption).strip()


class ConditionMasks:
    """The loader's condition dropout: masks of 0 and 1 for [body, vid], constant over a clip.

    Its generator is numpy's RandomState(42 + 100 rank). The released `train.py` always uses `prob` with [0, 0],
    which never drops anything; the released single-stream model ignores the mask altogether.
    """

    def __init__(self, rank: int = 0, seed: int = SEED) -> None:
        self._random = np.random.RandomState(seed + 100 * rank)

    def by_track(self) -> tuple[int, int]:
        """One draw of four cases: neither, without the first, without the second, both."""
        return ((0, 0), (0, 1), (1, 0), (1, 1))[int(self._random.randint(0, 4))]

    def by_probability(self, both: float, each: float) -> tuple[int, int]:
        """Both are dropped with probability `both`; otherwise each on its own with probability `each`."""
        if self._random.rand() < both:
            return (0, 0)
        draws = self._random.rand(), self._random.rand()
        return (int(draws[0] >= each), int(draws[1] >= each))

    @staticmethod
    def spread(kept: Sequence[int], n_rows: int) -> NDArray[np.int64]:
        """The mask array [2, n_rows] of a draw."""
        return np.repeat(np.asarray(kept, dtype=np.int64)[:, None], n_rows, axis=1)


def check_expotion_data(golden: GoldenFile) -> None:
    """Clips one by one, the picture helper, long crops, masks draw by draw, captions."""
    duration_s = int(golden.setting("config", "sample_sec"))
    rate_hz = int(golden.setting("config", "frame_res"))
    n_frames = duration_s * rate_hz
    for found in _matches(golden, r"in/feature_(\d+)"):
        features = tensor(golden, found[0])
        rows = motion_features(features, n_frames)
        golden.compare("features", rows, f"out/features_{found[1]}", INTERPOLATION)
        stretched = stretch(features, n_frames)[None]
        cropped = inference_crop(stretched, INFERENCE_OFFSET_S, rate_hz=rate_hz, duration_s=duration_s)
        golden.compare("inference features", cropped[0], f"out/inference_{found[1]}", INTERPOLATION)
        golden.compare("padding row", rows[-1], np.zeros(rows.shape[1]), 0.0)
    for found in _matches(golden, r"in/rvq_(\d+)"):
        golden.compare("codes", fit_codes(tensor(golden, found[0]), n_frames), f"out/mix_{found[1]}", 0.0)
    image = image_features(tensor(golden, "in/video_map"), n_frames)
    golden.compare("picture features", image, "out/video_map", INTERPOLATION)
    track = tensor(golden, "in/crop_long")
    for found in _matches(golden, r"out/crop_long_off([\d.]+)"):
        cropped = inference_crop(track, float(found[1]), rate_hz=rate_hz, duration_s=duration_s)
        golden.compare("crop of a long track", cropped, found[0], 0.0)
    _check_masks(golden)
    raw, cleaned = golden.about.get("captions_raw", []), golden.about.get("captions_cleaned", [])
    differing = sum(clean_caption(mine) != theirs for mine, theirs in zip(raw, cleaned, strict=True))
    golden.compare("captions that differ", np.array(float(differing)), np.array(0.0), 0.0)


def _matches(golden: GoldenFile, pattern: str) -> list[re.Match[str]]:
    found = [match for name in golden.names if (match := re.fullmatch(pattern, name))]
    if not found:
        raise ExpotionError(Problem("expotion_data", f"arrays named {pattern}", "none"))
    return found


def _check_masks(golden: GoldenFile) -> None:
    """Consecutive draws of a fresh loader; the columns are three moments of a mask that is constant over time."""
    rank = int(golden.setting("config", "rid"))
    seed = int(golden.setting("config").get("RandomState seed", SEED))
    if seed != SEED:  # then it is the whole seed, the rank's share included
        seed -= 100 * rank
    wanted = golden.array("mask/track")
    masks = ConditionMasks(rank, seed)
    drawn = [masks.spread(masks.by_track(), wanted.shape[2]) for _ in wanted]
    golden.compare("masks by track", np.array(drawn), wanted, 0.0)
    for found in _matches(golden, r"mask/prob_([\d.]+)_([\d.]+)"):
        both, each = float(found[1]), float(found[2])
        wanted = golden.array(found[0])
        masks = ConditionMasks(rank, seed)
        drawn = [masks.spread(masks.by_probability(both, each), wanted.shape[2]) for _ in wanted]
        golden.compare("masks by probability", np.array(drawn), wanted, 0.0)
