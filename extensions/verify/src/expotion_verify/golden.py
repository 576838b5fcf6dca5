"""A golden file: `NAME.json` says what the arrays of `NAME.npz` are, and a check compares them.

Nothing in a file is executed (`allow_pickle=False`). Every array that the JSON lists must be there with its shape
and type; the check must use it; an array that is there but not listed is a fault as well.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from expotion.errors import ExpotionError, Problem, first_line

SUFFIXES = (".json", ".npz")


class UnreadableGolden(ExpotionError):
    """A golden file that cannot be read at all: exit code 2."""

    exit_code = 2


@dataclass
class Finding:
    """One line of the table. `deviation` is None where nothing could be compared; `note` says why."""

    quantity: str
    deviation: float | None
    tolerance: float | None
    passed: bool
    note: str = ""

    @property
    def badness(self) -> float:
        """Deviation over tolerance."""
        if self.deviation is None:
            return math.inf
        return self.deviation / self.tolerance if self.tolerance else self.deviation * 1e300


@dataclass
class Golden:
    """One golden file in memory. Build it with `read_golden`; it is the `GoldenFile` that a check gets."""

    path: Path
    about: Mapping[str, Any]
    arrays: dict[str, NDArray[Any]]
    findings: list[Finding] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    @property
    def names(self) -> Sequence[str]:
        """Names of all arrays."""
        return list(self.arrays)

    def array(self, name: str) -> NDArray[Any]:
        """A copy of one array; ExpotionError when it is not there. Marks it as used."""
        if name not in self.arrays:
            raise ExpotionError(Problem(f"{self.path.name} {name}", "an array of this name", "none"))
        self.used.add(name)
        return np.array(self.arrays[name])

    def under(self, prefix: str) -> dict[str, NDArray[Any]]:
        """All arrays whose names begin with `prefix`, by the rest of the name; an ExpotionError when none does."""
        found = {name[len(prefix) :]: self.array(name) for name in self.arrays if name.startswith(prefix)}
        if not found:
            raise ExpotionError(Problem(f"{self.path.name} {prefix}*", "arrays of this prefix", "none"))
        return found

    def setting(self, *path: str) -> Any:
        """A value of the JSON by its keys from the outside in."""
        value: Any = self.about
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                raise ExpotionError(Problem(f"{self.path.name} {'.'.join(path)}", "a value", "nothing"))
            value = value[key]
        return copy.deepcopy(value)

    def compare(
        self, quantity: str, got: Any, wanted: str | NDArray[Any], tolerance: float, *, relative: bool = False
    ) -> None:
        """See `contracts.GoldenFile.compare`."""
        name = wanted if isinstance(wanted, str) else quantity
        reference = self.array(wanted) if isinstance(wanted, str) else np.asarray(wanted)
        if hasattr(got, "detach"):  # a tensor
            got = got.detach().cpu().numpy()
        deviation, note = deviation_of(np.asarray(got), reference, relative=relative)
        passed = deviation is not None and deviation <= tolerance
        note = f"{name}: {note}" if note else "" if passed else name
        finding = Finding(quantity, deviation, tolerance, passed, note)
        for index, known in enumerate(self.findings):  # of several of one quantity the worst stays
            if known.quantity == quantity:
                if finding.badness > known.badness:
                    self.findings[index] = finding
                return
        self.findings.append(finding)

    def fail(self, quantity: str, note: str) -> None:
        """Note a failure that is no deviation."""
        self.findings.append(Finding(quantity, None, None, False, note))

    def check_listing(self) -> bool:
        """Presence, shape and dtype of everything that the JSON lists; False where something is amiss."""
        listed = self.about["arrays"]
        for name, entry in listed.items():
            wanted = f"{entry['dtype']} {list(entry['shape'])}"
            if name not in self.arrays:
                self.fail(name, "missing from the .npz")
            elif wanted != (got := f"{self.arrays[name].dtype} {list(self.arrays[name].shape)}"):
                self.fail(name, f"listed as {wanted}, got {got}")
        for name in [name for name in self.arrays if name not in listed]:
            self.fail(name, "in the .npz but not listed in the JSON")
        sound = not self.findings
        self.findings.append(Finding(f"{len(listed)} arrays listed", None, None, sound, ""))
        return sound

    def check_use(self) -> None:
        """Every array must have been used by the check."""
        for name in self.arrays:
            if name not in self.used:
                self.fail(name, "no check uses this array")


def deviation_of(got: NDArray[Any], wanted: NDArray[Any], *, relative: bool = False) -> tuple[float | None, str]:
    """Largest absolute difference and a note; None where the arrays cannot be compared.

    NaN must stand in the same places. `relative` divides by the largest absolute wanted value.
    """
    if got.shape != wanted.shape:
        return None, f"shape {list(wanted.shape)} wanted, got {list(got.shape)}"
    if got.size == 0:
        return 0.0, ""
    ours, theirs = (array.astype(np.float64) for array in (got, wanted))
    known = ~np.isnan(theirs)
    if not np.array_equal(known, ~np.isnan(ours)):
        return None, "not defined (NaN) in other places"
    apart = known & (ours != theirs)  # equal infinities have no difference
    largest = float(np.abs(ours[apart] - theirs[apart]).max(initial=0.0))
    scale = float(np.abs(theirs[known]).max(initial=0.0)) if relative else 1.0
    if scale > 0:
        largest /= scale
    return largest, ""


def read_golden(path: Path) -> Golden:
    """The pair of files of a path (with the suffix .json, .npz or none). UnreadableGolden when either is bad."""
    stem = path.with_suffix("") if path.suffix in SUFFIXES else path
    about_path, arrays_path = _pair(stem)
    try:
        about = json.loads(about_path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableGolden(Problem(str(about_path), "a readable JSON file", first_line(error))) from None
    if not isinstance(about, dict) or not _is_listing(about.get("arrays")):
        wanted = "a JSON object whose `arrays` give a shape and a dtype by name"
        raise UnreadableGolden(Problem(str(about_path), wanted))
    try:
        with np.load(arrays_path, allow_pickle=False) as file:
            return Golden(stem, about, {name: file[name] for name in file.files})
    except Exception as error:  # zlib.error and others from deep inside a damaged archive
        raise UnreadableGolden(Problem(str(arrays_path), "a readable .npz file", first_line(error))) from None


def _pair(stem: Path) -> list[Path]:
    return [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]


def _is_listing(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and isinstance(entry.get("shape"), list) and isinstance(entry.get("dtype"), str)
        for entry in value.values()
    )


class Found(NamedTuple):
    """A golden file (path without suffix) and its kind; None where no kind fits."""

    stem: Path
    kind: str | None


def kind_of(name: str, kinds: Collection[str]) -> str | None:
    """The longest known kind that equals the name or is followed by `_`."""
    fitting = [kind for kind in kinds if name == kind or name.startswith(f"{kind}_")]
    return max(fitting, key=len, default=None)


def find_golden(paths: Iterable[Path], kinds: Collection[str]) -> list[Found]:
    """Golden files of files and folders (searched through), each once, in order.

    In a folder a golden file is a pair NAME.json and NAME.npz; half a pair counts when its name begins with a
    known kind, and is then unreadable. UnreadableGolden for a path that is not there.
    """
    stems: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = [file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file()]
            for stem in sorted({file.with_suffix("") for file in files}):
                if kind_of(stem.name, kinds) or all(file.is_file() for file in _pair(stem)):
                    stems.append(stem)
        elif path.suffix in SUFFIXES and path.is_file():
            stems.append(path.with_suffix(""))
        elif any(file.is_file() for file in _pair(path)):
            stems.append(path)
        else:
            raise UnreadableGolden(Problem(str(path), "a folder or a golden file", "nothing there"))
    if not stems:
        where, wanted = ", ".join(map(str, paths)), "golden files: pairs NAME.json and NAME.npz"
        raise UnreadableGolden(Problem(where, wanted, "none", "check the path"))
    return [Found(stem, kind_of(stem.name, kinds)) for stem in dict.fromkeys(stems)]
