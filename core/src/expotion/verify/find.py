"""Golden files among the given paths, and the kind of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from expotion.errors import Problem
from expotion.verify.golden import UnreadableGolden

SUFFIXES = (".json", ".npz")


@dataclass(frozen=True)
class Found:
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
    stems: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            candidates = {
                _stem(file) for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file()
            }
            for stem in sorted(candidates):
                if kind_of(stem.name, kinds) or all(_with(stem, suffix).is_file() for suffix in SUFFIXES):
                    stems[stem] = None
        elif path.suffix in SUFFIXES and path.is_file():
            stems[_stem(path)] = None
        elif any(_with(path, suffix).is_file() for suffix in SUFFIXES):
            stems[path] = None
        else:
            raise UnreadableGolden(Problem(str(path), "a folder or a golden file", "nothing there"))
    if not stems:
        where = ", ".join(str(path) for path in paths)
        raise UnreadableGolden(
            Problem(where, "golden files: pairs NAME.json and NAME.npz", "none", "check the path")
        )
    return [Found(stem, kind_of(stem.name, kinds)) for stem in stems]


def _stem(path: Path) -> Path:
    return path.with_suffix("")


def _with(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)
