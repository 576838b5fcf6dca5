"""Check golden files one after the other and collect the lines of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from expotion.contracts import GoldenCheckSpec, GoldenFile
from expotion.errors import ExpotionError, in_short
from expotion.plugins import Registry
from expotion_verify.golden import Finding, Found, Golden, UnreadableGolden, find_golden, read_golden

Verdict = Literal["ok", "failed", "skipped", "unreadable"]

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
    verdict: Verdict
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; an infinite deviation is the text `inf`."""
        data = dict(vars(self))
        if self.deviation is not None and self.deviation == float("inf"):
            data["deviation"] = "inf"
        return data


@dataclass
class Report:
    """All rows. `exit_code`: 0 all agree, 1 something falls short, 2 a file could not be read."""

    rows: list[Row] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """What the command exits with; an unreadable file outweighs a failure."""
        verdicts = {row.verdict for row in self.rows}
        return 2 if "unreadable" in verdicts else 1 if "failed" in verdicts else 0

    def to_json(self) -> dict[str, Any]:
        """The table as plain data."""
        return {"exit_code": self.exit_code, "rows": [row.to_json() for row in self.rows]}


def verify(
    paths: Sequence[Path], registry: Registry, *, on_row: Callable[[Row], None] | None = None
) -> Report:
    """Check every golden file under `paths`. `on_row` sees each row as soon as it is known.

    Raises UnreadableGolden where a path does not exist or holds no golden file.
    """
    specs = {kind: offer.spec for kind, offer in registry.offers("golden check").items()}
    known = set(specs) | set(PACKAGES)
    report = Report()
    for found in find_golden(paths, known):
        for row in _rows(found, specs):
            report.rows.append(row)
            if on_row is not None:
                on_row(row)
    return report


def _rows(found: Found, specs: dict[str, GoldenCheckSpec]) -> Iterable[Row]:
    file = str(found.stem)
    spec = specs.get(found.kind or "")
    if spec is None:
        package = PACKAGES.get(found.kind or "")
        note = f"install {package} to check it" if package else "no installed check knows this kind"
        yield Row(found.kind or "?", file, "", None, None, "skipped", note)
        return
    try:
        golden = read_golden(found.stem)
    except UnreadableGolden as error:
        yield Row(spec.kind, file, "", None, None, "unreadable", str(error))
        return
    for finding in check_golden(golden, spec.build()):
        verdict: Verdict = "ok" if finding.passed else "failed"
        yield Row(
            spec.kind, file, finding.quantity, finding.deviation, finding.tolerance, verdict, finding.note
        )


def check_golden(golden: Golden, check: Callable[[GoldenFile], None]) -> list[Finding]:
    """The findings of one file: its listing, then, if that is sound, what the check compares, and unused arrays."""
    if not golden.check_listing():
        return golden.findings
    try:
        check(golden)
    except ExpotionError as error:
        golden.fail("the check", str(error))
    except Exception as error:  # arrays that contradict each other make any library raise anything
        golden.fail("the check", in_short(error))
    else:
        golden.check_use()
    return golden.findings
