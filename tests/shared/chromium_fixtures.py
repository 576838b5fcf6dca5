"""Chromium for tests, one at a time: two of them on two cores starve each other."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the system's Chromium is, for this test alone; skipped where there is none."""
    if CHROMIUM is None or sys.platform == "win32":
        pytest.skip("no Chromium here")
    import fcntl

    with (tmp_path_factory.getbasetemp().parent / "chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CHROMIUM
