"""The same bytes whatever the number of threads: alone, in a folder, in processes, over Ray."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lamp_world
import numpy as np
import pytest
import torch
from media import encode

from expotion import machine
from expotion.music.composer import open_composer
from expotion.plugins import Registry


@pytest.fixture
def several_threads() -> Iterator[None]:
    """Torch may have more than one thread, unlike in the rest of the suite."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@functools.cache
def many_values() -> torch.Tensor:
    return torch.rand(1 << 20, generator=torch.Generator().manual_seed(0)) - 0.5


def unsteady_sum() -> float:
    """A sum whose last digits depend on torch's threads, made large."""
    return float(many_values().sum()) * 1e4 % 1.0


@pytest.mark.usefixtures("several_threads")
def test_inside_a_steady_block_torch_has_one_thread_and_the_rest_know_how_many_there_are() -> None:
    torch.set_num_threads(2)
    assert machine.threads() == 2
    two = unsteady_sum()
    with machine.steady():
        assert (torch.get_num_threads(), machine.threads()) == (1, 2)
        one = unsteady_sum()
        with machine.steady(), machine.steady(False):
            assert (torch.get_num_threads(), machine.threads()) == (1, 2)
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), machine.threads()) == (2, 2)
    assert one != two


@pytest.mark.usefixtures("several_threads", "in_the_world_of_lamps")
@pytest.mark.parametrize("stage", ["features", "text", "sound"])
def test_no_stage_of_a_piece_sees_the_number_of_threads(
    stage: str, lamps: Registry, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage is made to depend on a sum that torch splits among its threads."""
    clip = encode(tmp_path / "a.mp4", n=9)
    composer = open_composer(finished, lamps)
    kinds: dict[str, tuple[Any, str]] = {
        "features": (lamp_world.Light, "extract"),
        "text": (type(composer.prompts.encoder), "extract"),
        "sound": (type(composer.backbone.codec), "decode"),
    }
    kind, name = kinds[stage]
    real = getattr(kind, name)

    def shaken(self: Any, given: Any) -> Any:
        made = real(self, given)
        if stage == "sound":
            return made + unsteady_sum()
        made.values[:] += unsteady_sum()
        return made

    monkeypatch.setattr(kind, name, shaken)
    made = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        composer.prompts._known.clear()
        composer.controls._heard.clear()
        made.append(composer.compose(clip))
    assert np.array_equal(made[0].samples, made[1].samples)
    assert made[0].notes["depends_on_threads"] == ["decoder"]  # of torch's own operations, as in this world


@pytest.mark.slow
def test_alone_in_a_folder_in_processes_and_over_ray_the_bytes_are_the_same(tmp_path: Path) -> None:
    """With the encoders and the adaptor that ship, on as many threads as there are."""
    source = tmp_path / "clips"
    source.mkdir()
    for n, name in enumerate(("a.mp4", "b.mp4"), start=30):
        encode(source / name, n=n, sound="aac", rate_hz=44_100)
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    ways = {
        "alone": [source / "a.mp4", "--jobs", 0],
        "folder": [source, "--jobs", 2],
        "ray": [source, "--ray", "local"],
    }
    made = {}
    for way, options in ways.items():
        out = tmp_path / way
        program = [sys.executable, "-c", "from expotion.cli.main import main; main()", "generate"]
        subprocess.run([*program, *map(str, options), "--out", str(out)], check=True, env=environment)
        made[way] = {suffix: (out / f"a{suffix}").read_bytes() for suffix in (".wav", ".mp4")}
        assert json.loads((out / "a.json").read_text())["made"]["depends_on_threads"] == []
    assert all(files == made["alone"] for files in made.values())
