"""Memory that was freed goes back to the system."""

from __future__ import annotations

import pytest

from expotion.train import heap


def test_trims_once_memory_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 100 + heap.GROWTH_BYTES // 2, 101 + heap.GROWTH_BYTES, 150, 151])
    monkeypatch.setattr(heap, "resident_bytes", lambda: next(sizes))
    watched = heap.Heap()
    trimmed: list[int] = []
    watched._trim = trimmed.append
    assert not watched.after_step()
    assert watched.after_step()
    assert trimmed == [0]
    assert not watched.after_step()


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(heap.ctypes, "CDLL", missing)
    assert not heap.Heap().after_step()
