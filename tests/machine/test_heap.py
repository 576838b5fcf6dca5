"""Memory that was freed goes back to the system."""

from __future__ import annotations

import pytest

from expotion.machine import system as machine


def test_trims_once_memory_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 100 + machine.HEAP_GROWTH_BYTES // 2, 101 + machine.HEAP_GROWTH_BYTES, 150, 151])
    monkeypatch.setattr(machine, "resident_bytes", lambda: next(sizes))
    watched = machine.Heap()
    trimmed: list[int] = []
    watched._trim = trimmed.append
    assert not watched.after_step()
    assert watched.after_step()
    assert trimmed == [0]
    assert not watched.after_step()


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    assert not machine.Heap().after_step()
