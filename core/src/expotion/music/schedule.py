"""A number over time, as it is typed: how strongly a control steers."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem

_EXAMPLE = "for example 0.5, or 0:1.0,5:0.2 for 1.0 at the start and 0.2 from 5 s on"


@dataclass(frozen=True)
class Schedule:
    """A number over time: `values` at increasing `times_s`, straight lines between, the outer ones held outside."""

    times_s: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def of(cls, given: float | str | Schedule, where: str = "strength") -> Schedule:
        """A schedule from a number, or from `VALUE` or `SECONDS:VALUE,SECONDS:VALUE` as typed.

        Raises ExpotionError for anything else, for values below 0, and for times that do not go forwards.
        """
        if isinstance(given, Schedule):
            return given
        parts = [part.strip().partition(":") for part in str(given).split(",")]
        if len(parts) == 1 and not parts[0][1]:
            parts = [("0", ":", parts[0][0])]
        try:
            times_s = tuple(float(time) for time, _, _ in parts)
            values = tuple(float(value) for _, _, value in parts)
        except ValueError:
            wanted = "a number of at least 0, or SECONDS:VALUE,SECONDS:VALUE"
            raise ExpotionError(Problem(where, wanted, str(given), _EXAMPLE)) from None
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise ExpotionError(Problem(where, "finite values of at least 0", str(given), _EXAMPLE))
        forwards = all(before < after for before, after in itertools.pairwise(times_s))
        if not (forwards and all(math.isfinite(time) and time >= 0 for time in times_s)):
            wanted = "times that go forwards from 0"
            raise ExpotionError(Problem(where, wanted, str(given), _EXAMPLE))
        return cls(times_s, values)

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 all the time."""
        return not any(self.values)

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values float32 [n] at these times."""
        return np.interp(times_s, self.times_s, self.values).astype(np.float32)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return short(self.values[0])
        pairs = zip(self.times_s, self.values, strict=True)
        return ",".join(f"{short(time)}:{short(value)}" for time, value in pairs)


def short(number: float) -> str:
    """All digits that tell a number from its neighbours: what a record says is read back as it was."""
    return str(number).removesuffix(".0")
