"""The golden files of the repository, each read and checked once."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from expotion.plugins import Registry, discover
from expotion_verify.golden import Finding, Golden, find_golden, read_golden
from expotion_verify.run import check_golden

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"


@dataclass
class Recorded(Golden):
    """A golden file that remembers every comparison, so that a test can repeat one on changed numbers."""

    comparisons: list[tuple[str, Any, Any, float, bool]] = field(default_factory=list)

    def compare(self, quantity: str, got: Any, wanted: Any, tolerance: float, *, relative: bool = False) -> None:
        self.comparisons.append((quantity, got, wanted, tolerance, relative))
        super().compare(quantity, got, wanted, tolerance, relative=relative)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover()


@pytest.fixture(scope="session")
def read():
    """A copy of the repository's file of a kind, which a test may change."""
    known: dict[str, Golden] = {}

    def of(kind: str) -> Golden:
        if kind not in known:
            known[kind] = read_golden(GOLDEN / f"{kind}_dev")
        golden = known[kind]
        return Golden(golden.path, copy.deepcopy(golden.about), dict(golden.arrays))

    return of


@pytest.fixture(scope="session")
def checked(registry):
    """The recorded run of the check on the repository's file of a kind, and its findings."""
    runs: dict[str, tuple[Recorded, list[Finding]]] = {}

    def run(kind: str) -> tuple[Recorded, list[Finding]]:
        if kind not in runs:
            golden = read_golden(GOLDEN / f"{kind}_dev")
            recorded = Recorded(golden.path, golden.about, golden.arrays)
            check = registry.offers("golden check")[kind].spec.build()
            runs[kind] = recorded, check_golden(recorded, check)
        return runs[kind]

    return run


@pytest.fixture(scope="session")
def kinds(registry) -> list[str]:
    found = find_golden([GOLDEN], registry.offers("golden check"))
    return [item.kind for item in found if item.kind is not None]
