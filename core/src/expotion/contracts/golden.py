"""Golden numbers: files of reference values, and what a plugin checks against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray


class GoldenFile(Protocol):
    """Reference numbers (`NAME.json` and `NAME.npz`) as a check reads them.

    Reading an array marks it as used: an array that the JSON lists and no check uses is a failure. An array that
    is not there raises an `ExpotionError`, which the runner turns into a failure of that file.
    """

    @property
    def about(self) -> Mapping[str, Any]:
        """The JSON: sizes, seeds, notes. Sizes that a shape tells are better read from the shape."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Names of all arrays."""
        ...

    def array(self, name: str) -> NDArray[Any]:
        """One array, writable, a copy."""
        ...

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All arrays whose names begin with `prefix`, by the rest of the name."""
        ...

    def setting(self, *path: str) -> Any:
        """A value of the JSON by its keys from the outside in; an `ExpotionError` where it is not there."""
        ...

    def compare(
        self, quantity: str, got: Any, wanted: str | NDArray[Any], tolerance: float, *, relative: bool = False
    ) -> None:
        """Compare a result (array or tensor) with the array named `wanted` or given; note the largest deviation.

        Shapes must be equal and NaN must stand in the same places. Tolerance 0 asks for equality; `relative`
        divides by the largest absolute wanted value. Several comparisons of one quantity are one line.
        """
        ...


@dataclass(frozen=True)
class GoldenCheckSpec:
    """A kind of golden file and how to check one: `build()` imports what it needs and returns the check."""

    kind: str
    build: Callable[[], Callable[[GoldenFile], None]]
    description: str = ""

    @property
    def name(self) -> str:
        """The kind: the beginning of the files' names."""
        return self.kind
