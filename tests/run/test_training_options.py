"""Options of training through a whole run: sound on the way, a cache that vanishes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from expotion.video.audio import load_audio

Run = Callable[..., int]


def test_samples_are_written_while_training_goes_on(run_less: Run, tmp_path: Path, finished_less: Path) -> None:
    assert run_less(tmp_path / "run", "train.sample_every_steps=2") == 0
    written = sorted((tmp_path / "run" / "training_samples").iterdir())
    assert [path.name for path in written] == ["step_000002.wav", "step_000004.wav"]
    sounds = [load_audio(path, 32_000) for path in written]
    assert all(sound is not None and len(sound) == 6_400 for sound in sounds)
    same = [
        (folder / "adaptor" / "adaptor.safetensors").read_bytes() for folder in (tmp_path / "run", finished_less)
    ]
    assert same[0] == same[1]  # listening changes nothing


def test_a_cache_that_vanishes_between_stages_is_made_again(
    run_less: Run,
    tmp_path: Path,
    finished_less: Path,
    monkeypatch: pytest.MonkeyPatch,
    results: Callable[[Path], dict[str, bytes]],
) -> None:
    """The run is stopped in training, its cache is removed, and it goes on to the same result."""
    monkeypatch.setenv("EXPOTION_CACHE", str(tmp_path / "cache"))
    from expotion.train.loop import Loop

    step = Loop.step

    def stop(run: Loop) -> dict[str, object]:
        if run.step_number == 3:
            raise KeyboardInterrupt
        return step(run)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stop)
        assert run_less(tmp_path / "run") == 130
    shutil.rmtree(tmp_path / "cache")
    assert run_less(tmp_path / "run") == 0
    assert results(tmp_path / "run") == results(finished_less)


def test_the_curve_is_shown_at_the_end(run_less: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_less(tmp_path / "run") == 0
    shown = capsys.readouterr().out
    assert "· training" in shown
    assert "step  0" in shown
