"""Seeded draws that any Python repeats: they stand on `random.Random.random`, which is fixed by promise."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_ONE_KEY = 0x9E3779B97F4A7C15
_OCTAVES = 7


class Draw:
    """A stream of draws of its own for every tuple of whole numbers."""

    def __init__(self, *key: int) -> None:
        mixed = 0
        for part in key:
            mixed = (mixed ^ (part + 1)) * _ONE_KEY % 2**64
            mixed ^= mixed >> 29
        self.random = random.Random(mixed).random

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.random() < share

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.random()

    def below(self, n: int) -> int:
        """A whole number 0..n - 1."""
        return int(self.random() * n)

    def pick(self, things: Sequence[T]) -> T:
        """One of these, each as likely."""
        return things[int(self.random() * len(things))]

    def weighed(self, weights: Mapping[T, float]) -> T:
        """One of the keys, as likely as its weight says."""
        left = self.random() * sum(weights.values())
        for thing, weight in weights.items():
            left -= weight
            if left < 0:
                return thing
        return next(reversed(list(weights)))


def pink(n: int, *key: int) -> NDArray[np.float64]:
    """1/f deviations [n] of unit variance, one per beat or note; a longer row begins with the shorter one.

    A sum of steps held for 1, 2, 4, ... 64 places (Voss and Clarke 1978), as the timing of players varies.
    """
    total = np.zeros(n)
    for octave in range(_OCTAVES):
        held = np.random.default_rng([*key, octave]).standard_normal((n >> octave) + 1)
        total += np.repeat(held, 1 << octave)[:n]
    return np.asarray(total / np.sqrt(_OCTAVES))
