"""Memory that was freed goes back to the system."""

from __future__ import annotations

import pytest

from expotion.machine import system as machine


def test_trims_once_memory_has_grown_beyond_what_a_step_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    step, growth = 2**40, machine.HEAP_GROWTH_BYTES  # a step's own need, given back by a trim and taken again
    sizes = iter([100, step, step + growth // 2, step + growth, step, step + 1])
    monkeypatch.setattr(machine, "resident_bytes", lambda: next(sizes))
    watched = machine.Heap()
    trimmed: list[int] = []
    watched._trim = trimmed.append
    assert [watched.after_step() for _ in range(5)] == [False, False, True, False, False]
    assert trimmed == [0]


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    assert not machine.Heap().after_step()
