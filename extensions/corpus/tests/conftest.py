"""Small videos with music made in the tests: no external file is needed."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from expotion.manifest.rows import Row
from expotion.video.writing import write_video
from expotion_corpus.examine import Examined, Settings, examine
from expotion_corpus.tables import Item

RATE_HZ = 8000
FPS = 10


def _notes(seed: int, seconds: float = 4.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """Five chords a second of six random tones each."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(0.2 * rate_hz)) / rate_hz
    pieces = [
        np.sin(2 * np.pi * rng.uniform(150, 3000, (6, 1)) * t).sum(0) * np.exp(-8 * t)
        for _ in range(int(seconds * 5 + 0.5))
    ]
    return np.concatenate(pieces).astype(np.float32) / 6


@pytest.fixture
def notes() -> Callable[..., NDArray[np.float32]]:
    return _notes


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Write a video whose picture moves; `sound` None leaves it out; `still` makes the picture stand."""

    return _write


def _write(
    path: Path,
    seed: int = 0,
    seconds: float = 4.0,
    *,
    sound: NDArray[np.float32] | str | None = "notes",
    rate_hz: int = RATE_HZ,
    still: bool = False,
) -> Path:
    samples = _notes(seed, seconds, rate_hz) if isinstance(sound, str) else sound
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(path.suffix, seconds, None if samples is None else samples.tobytes(), rate_hz, still))
    return path


@functools.cache
def _encoded(suffix: str, seconds: float, sound: bytes | None, rate_hz: int, still: bool) -> bytes:
    """The bytes of such a video, encoded once."""
    times_s = np.arange(int(seconds * FPS + 0.5)) / FPS
    shades = np.full(len(times_s), 90) if still else (40 + 150 * (np.arange(len(times_s)) % 13) / 12)
    frames = [np.full((32, 32, 3), shade, np.uint8) for shade in shades]
    samples = None if sound is None else np.frombuffer(sound, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        write_video(path, frames, times_s, samples, None if samples is None else rate_hz, duration_s=seconds)
        return path.read_bytes()


@pytest.fixture
def moved() -> Callable[[Path, Path], None]:
    """(source, target) -> the folder copied, with the places that manifests tell put right."""

    def copy(source: Path, target: Path) -> None:
        shutil.copytree(source, target, dirs_exist_ok=True)
        for path in target.rglob("*.jsonl"):
            path.write_text(path.read_text().replace(str(source), str(target)))

    return copy


@pytest.fixture(scope="session")
def examine_all() -> Callable[..., Any]:
    """(settings) -> what `prepare` calls, in this process; `.asked` lists how many files each call examined."""

    return _examine_all


def _examine_all(settings: Settings) -> Any:
    asked: list[int] = []

    def run(items: Sequence[Item]) -> Iterator[tuple[int, Examined]]:
        asked.append(len(items))
        return ((i, examine(settings, item)) for i, item in enumerate(items))

    run.asked = asked  # type: ignore[attr-defined]
    return run


@pytest.fixture
def row() -> Callable[..., Row]:
    """A row of a manifest; its file's hash is made from its name."""

    def make(name: str, **fields: object) -> Row:
        digest = name.encode().hex().ljust(64, "0")
        values = {"id": name, "path": f"{name}.mp4", "start_s": 0, "duration_s": 10, "file_sha256": digest}
        return Row.model_validate(values | fields)

    return make
