"""What the authors' loader and inference script do to features, codes, captions and masks (2025 code).

Kept to reproduce their runs and numbers; our own loading works by timestamps and pads nothing. With a clip of
10 s at 50 Hz, n_frames = 500 code frames and n_frames + 1 = 501 feature rows. Their quirks, on purpose:

* features are stretched with both ends pinned, whatever their rate: row j samples j (n - 1) / (n_frames - 1);
* the last feature row is padding (zeros; ones in the unused image helper);
* codes that are too short are padded with code 0, and these frames are trained on;
* the inference offset is ignored for features that have fewer rows than a clip, which they always have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from expotion.errors import ExpotionError

FRAME_RATE_HZ = 50
CLIP_S = 10
_MARKERS = ("<s>", "</s>", "\n")


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
    for marker in _MARKERS:
        caption = caption.replace(marker, "")
    return caption.strip()


class ConditionMasks:
    """The loader's condition dropout: masks of 0 and 1 for [body, vid], constant over a clip.

    Its generator is numpy's RandomState(42 + 100 rank). The released `train.py` always uses `prob` with [0, 0],
    which never drops anything; the released single-stream model ignores the mask altogether.
    """

    def __init__(self, rank: int = 0, seed: int = 42) -> None:
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
