"""Music that is heard while it is decoded: the same as in files, and every reason why it cannot be played."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from expotion.cli.main import run
from expotion.video.writing import write_video
from expotion_live import play as music_stream
from expotion_live import sink as listening

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    frames = [np.full((32, 48, 3), 200 - 10 * (i % 5), np.uint8) for i in range(7)]
    write_video(tmp_path / "lamp.mp4", frames, np.arange(7) / 10)
    return tmp_path / "lamp.mp4"


@pytest.fixture
def play(lamps: object, finished: Path) -> Callable[..., int]:
    def call(*arguments: object) -> int:
        return run(["play", *map(str, arguments), "--adaptor", str(finished)])

    return call


@pytest.fixture
def speakers(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A sounddevice that keeps what it is given."""
    heard: list[np.ndarray] = []

    class OutputStream:
        def __init__(self, samplerate: int, channels: int, dtype: str) -> None:
            assert (samplerate, channels, dtype) == (32_000, 1, "float32")

        def __enter__(self) -> OutputStream:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, samples: np.ndarray) -> None:
            heard.append(samples.copy())

        def stop(self) -> None:
            pass

    fake: Any = SimpleNamespace(OutputStream=OutputStream, query_devices=lambda kind: {})
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return heard


def test_the_speakers_get_the_piece_in_chunks(
    play: Callable[..., int],
    finished: Path,
    clip: Path,
    tmp_path: Path,
    speakers: list[np.ndarray],
    capsys: Capture,
) -> None:
    assert play(clip, "--seed", 3) == 0
    assert "0.7 s of music; the first sound after" in capsys.readouterr().out
    assert len(speakers) > 1
    heard = np.concatenate(speakers)[:, 0]
    written = ("--out", tmp_path / "a.wav", "--depth", "float", "--adaptor", finished)
    assert run(["generate", *map(str, (clip, "--seed", 3, *written))]) == 0
    sound, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert len(heard) == len(sound)
    assert np.abs(np.clip(heard, -1, 1) - sound).max() < 1e-4


def test_standard_output_is_samples_and_nothing_else(
    play: Callable[..., int], clip: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert play(clip, "--to", "-") == 0
    shown = capfdbinary.readouterr()
    assert len(shown.out) == 2 * round(0.7 * 32_000)
    assert np.frombuffer(shown.out, "<i2").any()
    assert b"0.7 s of music" in shown.err


def test_samples_are_clipped_and_little_end_first() -> None:
    data = listening.to_s16le(np.array([0.0, 0.5, 1.0, -1.0, 3.0], np.float32))
    assert list(data) == [0, 0, 0, 64, 255, 127, 1, 128, 255, 127]


def test_a_listener_that_leaves_ends_it(
    play: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    @contextmanager
    def sink(where: str, rate_hz: int, channels: int) -> Iterator[Any]:
        def gone(samples: np.ndarray) -> None:
            raise listening.ListenerGone

        yield gone

    monkeypatch.setattr(music_stream, "open_sink", sink)
    assert play(clip, "--to", "-") == 0
    assert "the listener left after" in capsys.readouterr().err


def test_what_cannot_be_played_is_said_before_anything_is_loaded(
    play: Callable[..., int], clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def loaded(*_: Any) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(music_stream, "open_composer", loaded)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert play(clip, "--strength", "glow=2:1,1:0") == 1
    error = capsys.readouterr().err
    assert 'install "expotion[play]"' in error and "go forwards" in error
    assert play(tmp_path, "--to", "-") == 1
    assert "a media file, got a folder" in capsys.readouterr().err
    assert play(tmp_path / "missing.mp4", "--to", "-") == 1
    assert "no such file" in capsys.readouterr().err
    for option in ("--loudness", "--out", "--samples"):  # it writes no files
        assert play(clip, "--to", "-", option, "1") == 2
        assert f"No such option: {option}" in capsys.readouterr().err


def test_a_machine_without_a_sound_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(kind: str) -> Any:
        raise RuntimeError("Error querying device -1")

    monkeypatch.setitem(sys.modules, "sounddevice", SimpleNamespace(query_devices=none))
    assert importlib.import_module("sounddevice").query_devices is none
    (problem,) = listening.sink_problems("speakers")
    assert "Error querying device -1" in str(problem)
    (problem,) = listening.sink_problems("kitchen")
    assert "speakers or -, got kitchen" in str(problem)
