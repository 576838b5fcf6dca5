from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from expotion import machine


@pytest.fixture
def undecided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that was told nothing and has nothing in its cache; the suite's own choice is back afterwards."""
    monkeypatch.delenv(machine.AUTO)
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    machine.forget()
    yield
    machine.forget()
