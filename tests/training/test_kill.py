"""Training that is killed without warning, again and again, ends with the same bytes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAINEE = Path(__file__).with_name("trainee.py")


def train(folder: Path, kill_after: int | None = None, wait_s: float = 0.0) -> int:
    """Train in a process of its own; killed `wait_s` after it has printed `kill_after` steps. The first step."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, str(TRAINEE), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = int(process.stdout.readline().removeprefix("from "))
    if kill_after is not None:
        for _ in range(kill_after):
            process.stdout.readline()
        time.sleep(wait_s)
        process.kill()
    process.communicate(timeout=120)
    assert process.returncode == (0 if kill_after is None else -9)
    return first


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(tmp_path: Path) -> None:
    rng = random.Random(0)
    train(tmp_path / "whole")
    starts = [train(tmp_path / "killed", rng.randint(5, 12), rng.uniform(0.0, 0.02)) for _ in range(3)]
    starts.append(train(tmp_path / "killed"))
    assert starts[0] == 0
    assert starts == sorted(starts) and starts[1] > 0
    whole, killed = (tmp_path / name / "adaptor.safetensors" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()
    kept = sorted(path.name for path in (tmp_path / "killed" / "checkpoints").iterdir())
    assert kept == ["step_000057", "step_000060"]
