from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from expotion_face_marlin import FaceMarlinOptions
from expotion_face_marlin.encoder import load_network


@pytest.mark.parametrize("wander", ["0", "0.04"])
def test_training_runs_end_to_end(tmp_path: Path, wander: str) -> None:
    """A few steps on two clips: the weights it writes load."""
    program = Path(__file__).parents[1] / "train" / "tiny.py"
    out = tmp_path / "tiny.safetensors"
    command = [sys.executable, str(program), "--smoke", "--seed", "1", "--wander", wander, "--out", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "trained weights" in done.stdout
    _, head, sha256 = load_network(FaceMarlinOptions(weights=out))
    assert len(sha256) == 64
    assert sorted(key for key, _ in head.named_buffers()) == ["mean", "std"]
    assert out.with_suffix(".json").is_file()
