"""Training that is killed without warning, again and again, ends with the same bytes."""

from __future__ import annotations

import random
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

TRAINEE = Path(__file__).with_name("trainee.py")


def train(folder: Path) -> None:
    """Train to the end, here."""
    folder.mkdir(exist_ok=True)
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(TRAINEE))["main"](folder)
    finally:
        torch.set_num_threads(threads)


def train_and_kill(folder: Path, after: int, wait_s: float) -> int:
    """Train in a process of its own, killed `wait_s` after it has printed `after` steps. Its first step."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, str(TRAINEE), str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = int(process.stdout.readline().removeprefix("from "))
    for _ in range(after):
        process.stdout.readline()
    time.sleep(wait_s)
    process.kill()
    process.communicate(timeout=120)
    assert process.returncode == -9
    return first


@pytest.mark.slow
def test_killed_at_random_times_and_resumed(tmp_path: Path) -> None:
    rng = random.Random(0)
    train(tmp_path / "whole")
    killed = tmp_path / "killed"
    starts = [train_and_kill(killed, rng.randint(5, 12), rng.uniform(0.0, 0.02)) for _ in range(3)]
    train(killed)
    assert starts[0] == 0
    assert starts == sorted(starts) and starts[1] > 0
    first, second = (folder / "adaptor.safetensors" for folder in (tmp_path / "whole", killed))
    assert first.read_bytes() == second.read_bytes()
    kept = sorted(path.name for path in (killed / "checkpoints").iterdir())
    assert kept == ["step_000057", "step_000060"]
