"""Cores and memory as this machine has them, in a container too."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
import torch

from expotion.machine import cores, free_bytes, resident_bytes
from expotion.machine import system as machine


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of 6 cores and 2 MiB free, without limits."""
    (tmp_path / "groups" / "cpu").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   2048 kB\n")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(machine, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    return tmp_path


@pytest.mark.parametrize(("quota", "wanted"), [("max 100000", 6), ("150000 100000", 2), ("9000000 100000", 6)])
def test_a_quota_counts_in_whole_cores(system: Path, quota: str, wanted: int) -> None:
    (system / "groups" / "cpu.max").write_text(quota + "\n")
    assert cores() == wanted


@pytest.mark.parametrize(("quota", "wanted"), [("-1", 6), ("250000", 3), ("1000", 1)])
def test_the_older_form_of_a_quota_counts_too(system: Path, quota: str, wanted: int) -> None:
    (system / "groups" / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (system / "groups" / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores() == wanted


def test_free_memory_is_the_least_of_what_is_said(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes() == 2048 * 1024
    (system / "groups" / "memory.max").write_text("5000\n")
    (system / "groups" / "memory.current").write_text("4000\n")
    assert free_bytes("cpu") == 1000
    (system / "groups" / "memory.max").write_text("max\n")
    assert free_bytes(torch.device("cpu")) == 2048 * 1024
    (system / "proc" / "self").mkdir()
    (system / "proc" / "self" / "statm").write_text("3 2 1\n")
    page = os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (3 * page + 777, 0))
    assert free_bytes() == 777
    assert resident_bytes() == 2 * page
    assert free_bytes("meta") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine_says_something() -> None:
    assert cores() >= 1 and (free_bytes() or 0) > 0
    before = resident_bytes()
    block = bytearray(64 * 2**20)
    assert resident_bytes() - before > 32 * 2**20
    assert len(block) == 64 * 2**20
