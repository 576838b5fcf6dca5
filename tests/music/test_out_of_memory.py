"""Memory that runs out says what was needed, what there was, and what lowers it."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from expotion.cli.main import run
from expotion.music import out_of_memory
from expotion.music.composer import Composer
from expotion.music.out_of_memory import memory_problem, text_problem
from expotion.video.writing import write_video

pytestmark = pytest.mark.usefixtures("in_the_world_of_lamps")


@pytest.fixture(autouse=True)
def _two_gigabytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory.machine, "free_bytes", lambda: 2_000_000_000)


def test_errors_of_numpy_torch_and_the_system() -> None:
    with pytest.raises(MemoryError) as numpys:
        np.zeros((1 << 20, 1 << 30), np.float64)
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(1 << 55)
    said = [str(memory_problem("clip.mp4", error.value)) for error in (numpys, torchs)]
    said.append(str(memory_problem("clip.mp4", OSError(errno.ENOMEM, "Cannot allocate memory"))))
    assert said[0].startswith("clip.mp4: 9007199.3 GB more memory, got 2.0 GB free; lower it with --precision bf16")
    assert said[1].startswith("clip.mp4: 144115188.1 GB more memory, got 2.0 GB free")
    assert said[2].startswith("clip.mp4: more memory, got 2.0 GB free")
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has ...")
    assert "1.6 GB more memory" in str(memory_problem("x", cuda))


def test_an_error_that_came_as_text() -> None:
    found = text_problem("clip: face", "MemoryError: Unable to allocate 31.0 MiB for an array with shape (64, 3)")
    assert str(found).startswith("clip: face: 33 MB more memory, got 2.0 GB free")


@pytest.mark.parametrize(
    "error", [ValueError("out of memory of names"), RuntimeError("shapes differ"), OSError(errno.EIO, "io")]
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert memory_problem("clip.mp4", error) is None


def test_an_unclear_error_counts_where_next_to_nothing_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("could not create a primitive")
    assert memory_problem("x", error) is None
    monkeypatch.setattr(out_of_memory.machine, "free_bytes", lambda: 50_000_000)
    assert "50 MB free" in str(memory_problem("x", error))


def test_the_command_says_it_in_one_line(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [np.full((32, 48, 3), 99, np.uint8)] * 6
    write_video(tmp_path / "lamp.mp4", frames, np.arange(6) / 10)

    def full(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 3.00 GiB for an array with shape (3, 1 << 30)")

    monkeypatch.setattr(Composer, "compose", full)
    out = tmp_path / "out"
    assert run(["generate", str(tmp_path / "lamp.mp4"), "--adaptor", str(finished), "--out", str(out)]) == 1
    said = capfd.readouterr().err
    assert f"{tmp_path / 'lamp.mp4'}: 3.2 GB more memory, got 2.0 GB free; lower it with --precision bf16" in said
    assert "Traceback" not in said and not out.exists()
