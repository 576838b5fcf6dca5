"""n workers with batches of b are one worker with batches of n b; so are n batches one after the other."""

from __future__ import annotations

import functools
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from expotion.train.draw import draw_step
from expotion.train.world import World, share

WORKER = Path(__file__).with_name("worker.py")
NAMES = runpy.run_path(str(WORKER))
Result = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]


@functools.cache
def alone(batch_size: int, n_parts: int, **changes: Any) -> Result:
    """The run in this process; not to be changed."""
    run = NAMES["make_run"](
        NAMES["changed"](NAMES["SETTINGS"], batch_size=batch_size, accumulate=n_parts, **changes)
    )
    for _ in run.run():
        pass
    return run.records, dict(run.finish().state_dict())


def together(folder: Path, size: int, batch_size: int, n_parts: int) -> list[Result]:
    """The run over `size` processes, as each of them saw it."""
    folder.mkdir()
    rendezvous = f"file://{folder / 'rendezvous'}"
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *map(str, (rank, size, rendezvous, folder, batch_size, n_parts))]
        )
        for rank in range(size)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * size
    return [
        (
            json.loads((folder / f"records_{rank}.json").read_text()),
            load_file(folder / f"adaptor_{rank}.safetensors"),
        )
        for rank in range(size)
    ]


def assert_same(one: Result, other: Result) -> None:
    for key in ("loss", "gradient_norm", "validation_loss", "baseline_loss", "control_gain"):
        left, right = ([record[key] for record in result[0] if key in record] for result in (one, other))
        assert len(left) == len(right) > 0
        np.testing.assert_allclose(left, right, rtol=2e-5, atol=2e-6, err_msg=key)
    for name, tensor in one[1].items():
        torch.testing.assert_close(tensor, other[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_batches_in_parts_are_one_batch() -> None:
    whole, parts = alone(6, 1), alone(2, 3)
    assert_same(whole, parts)
    assert any(a["loss"] != b["loss"] for a, b in zip(whole[0], alone(2, 1)[0], strict=True))


@pytest.mark.slow
def test_two_workers_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    first, second = together(tmp_path / "two", size=2, batch_size=2, n_parts=2)
    assert_same(first, alone(4, 1))
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


@pytest.mark.slow
def test_fewer_workers_than_parts_give_the_same_curve(tmp_path: Path) -> None:
    """What an elastic run does: two workers share three parts unevenly."""
    first, _ = together(tmp_path / "three", size=2, batch_size=2, n_parts=3)
    assert_same(first, alone(6, 1))


def test_workers_see_disjoint_clips_and_all_of_them() -> None:
    settings = NAMES["changed"](NAMES["SETTINGS"], batch_size=2, accumulate=3)
    run = NAMES["make_run"](settings)
    seen: list[int] = []
    for step in range(2):  # an epoch: 2 steps of 6 clips out of 12
        draw = draw_step(run.objective.examples, run.objective.loss.names, settings, 3, step)
        own = [[int(i) for part in share(3, World(rank, 3)) for i in draw.part(part, 2).index] for rank in range(3)]
        assert all(len(clips) == 2 for clips in own)
        seen += [clip for clips in own for clip in clips]
    assert sorted(seen) == list(range(12))


def test_recomputed_activations_change_nothing() -> None:
    kept, recomputed = alone(4, 1), alone(4, 1, recompute_activations=True)
    assert [r["loss"] for r in kept[0]] == [r["loss"] for r in recomputed[0]]
    assert all(torch.equal(tensor, recomputed[1][name]) for name, tensor in kept[1].items())
