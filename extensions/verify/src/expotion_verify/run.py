"""Check golden files one after the other and give the lines of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from expotion.contracts import GoldenFile
from expotion.errors import in_short
from expotion.plugins import Registry
from expotion_verify.golden import Finding, Golden, UnreadableGolden, find_golden, read_golden

PACKAGES = {
    "marlin": "expotion-face-marlin",
    "marlin_postable": "expotion-face-marlin",
    "synchformer": "expotion-motion-synchformer",
    "raft_small": "expotion-motion-raft",
    "raft_large": "expotion-motion-raft",
}
"""Which distribution checks a kind of golden file: for the note where it is not installed."""


@dataclass(frozen=True)
class Row:
    """One line of the table; `deviation` and `tolerance` are None where nothing was compared."""

    kind: str
    file: str
    quantity: str
    deviation: float | None
    tolerance: float | None
    verdict: Literal["ok", "failed", "skipped", "unreadable"]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite deviation is the text `inf`."""
        return vars(self) | ({"deviation": "inf"} if self.deviation == float("inf") else {})


def verify(paths: Sequence[Path], registry: Registry) -> Iterator[Row]:
    """Check every golden file under `paths`, one after the other.

    Raises UnreadableGolden where a path does not exist or holds no golden file.
    """
    specs = {kind: offer.spec for kind, offer in registry.offers("golden check").items()}
    for stem, kind in find_golden(paths, specs.keys() | PACKAGES.keys()):
        file = str(stem)
        if kind not in specs:
            package = PACKAGES.get(kind or "")
            note = f"install {package} to check it" if package else "no installed check knows this kind"
            yield Row(kind or "?", file, "", None, None, "skipped", note)
            continue
        try:
            golden = read_golden(stem)
        except UnreadableGolden as error:
            yield Row(kind, file, "", None, None, "unreadable", str(error))
            continue
        for one in check_golden(golden, specs[kind].build()):
            verdict: Literal["ok", "failed"] = "ok" if one.passed else "failed"
            yield Row(kind, file, one.quantity, one.deviation, one.tolerance, verdict, one.note)


def check_golden(golden: Golden, check: Callable[[GoldenFile], None]) -> list[Finding]:
    """The findings of one file: its listing, then, if that is sound, what the check compares, and unused arrays."""
    if not golden.check_listing():
        return golden.findings
    try:
        check(golden)
    except Exception as error:  # arrays that contradict each other make any library raise anything
        golden.fail("the check", in_short(error))
    else:
        golden.check_use()
    return golden.findings
