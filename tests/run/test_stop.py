"""Ctrl-C in a real process: what it says, and that the run is taken up where it stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from expotion.cli.main import run
from expotion.plugins import Registry

WORLD = Path(__file__).parents[1] / "shared" / "lamp_world.py"


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_run_does(
    lamps: Registry, model: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """The recipe asks for so many steps that the signal comes in the middle of training."""
    folder = tmp_path / "run"
    many = ["--set", "train.steps=100000", "--set", "train.checkpoint_every_steps=100000"]
    arguments = ["recipe", "run", str(recipe_file), "--out", str(folder), *many]
    process = subprocess.Popen(
        [sys.executable, str(WORLD), str(model), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "EXPOTION_WORKERS": "1"},
    )
    try:
        until = time.monotonic() + 200
        while not (folder / "run.json").exists() or '"training"' not in (folder / "run.json").read_text():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 130, error
    assert error.splitlines()[-2:] == ["Stopped.", f"Go on where it stopped: expotion recipe run --resume {folder}"]
    assert "Traceback" not in error
    assert len(list((folder / "checkpoints").glob("step_*"))) <= 1

    # A run of this many steps is not finished here; that it is taken up where it stopped is what counts.
    from expotion.train import loop

    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []

        def stop(self: loop.Loop) -> None:
            seen.append(self.step_number)
            raise KeyboardInterrupt

        patch.setattr(loop.Loop, "step", stop)
        assert run(["recipe", "run", "--resume", str(folder)]) == 130
    saved = [int(path.name.removeprefix("step_")) for path in (folder / "checkpoints").glob("step_*")]
    assert seen == (saved or [0])
