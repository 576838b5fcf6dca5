"""What encoders give: features by time, features without time, and tracks at the model's step rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem

FEATURES_VERSION = "1.2"
"""Version of what features mean, part of every cache key. It changes when stored features must be made anew."""


@dataclass(frozen=True)
class TimedFeatures:
    """A native track: what an encoder saw, when it saw it, and where it had something to say.

    Shapes: `values` float32 [n, D]; `times_s` float64 [n], strictly increasing seconds from the clip's start;
    `valid` bool [n], false where the encoder has nothing to say (values there are finite and ignored).
    """

    values: NDArray[np.float32]
    times_s: NDArray[np.float64]
    valid: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.times_s)
        expected = (
            ("values", self.values, np.float32, self.values.ndim == 2 and len(self.values) == n, "[n, D]"),
            ("times_s", self.times_s, np.float64, self.times_s.ndim == 1, "[n]"),
            ("valid", self.valid, np.bool_, self.valid.shape == (n,), "[n]"),
        )
        problems = [
            Problem(f"TimedFeatures.{name}", f"{np.dtype(dtype)} {shape}, n = {n}", f"{array.dtype} {array.shape}")
            for name, array, dtype, fits, shape in expected
            if not fits or array.dtype != dtype
        ]
        if problems:
            raise ExpotionError(problems)
        if n > 1 and not bool(np.all(np.diff(self.times_s) > 0)):
            raise ExpotionError(Problem("TimedFeatures.times_s", "strictly increasing seconds"))
        if not bool(np.isfinite(self.values).all()):
            raise ExpotionError(
                Problem("TimedFeatures.values", "finite values", "NaN or infinity", "mark such samples valid=False")
            )

    @property
    def coverage(self) -> float:
        """Fraction of samples that are valid, 0..1 (0 for an empty track)."""
        return float(self.valid.mean()) if len(self.valid) else 0.0


@dataclass(frozen=True)
class TokenFeatures:
    """Features without a rate (text). `values` float32 [n, D]; `mask` bool [n], false at padding."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class SmoothedTrack:
    """A track at the language model's step rate: `values` float32 [T+1, D], `valid` bool [T+1]."""

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
