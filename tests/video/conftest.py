"""Small files made in the tests: no external file is needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from media import turn
from numpy.typing import NDArray

from expotion.video.writing import write_video

RATE_HZ = 32_000


def _position(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of the moving bar, 0..1."""
    return 0.5 + 0.3 * np.sin(2 * np.pi * 0.8 * np.asarray(times_s))


def _draw(times_s: NDArray[np.float64], height: int = 48, width: int = 96) -> list[NDArray[np.uint8]]:
    """A white bar on a dark ground with a red left edge."""
    columns = np.arange(width)
    frames = []
    for centre in _position(times_s) * width:
        frame = np.full((height, width, 3), 20, np.uint8)
        bar = np.clip(6.0 - np.abs(columns + 0.5 - centre), 0.0, 1.0)
        frame[:] += (bar[None, :, None] * 200).astype(np.uint8)
        frame[: height // 4, : width // 8] = (220, 30, 30)
        frames.append(frame)
    return frames


def _tone(duration_s: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A 440 Hz sine of amplitude 0.3."""
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * 440.0 * t)).astype(np.float32)


_MADE: dict[str, bytes] = {}
"""What was encoded before, in this process."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip of the moving bar; `sound` adds a tone as long as the picture; `matrix` turns what is shown."""

    def write(
        name: str = "a.mp4",
        *,
        fps=25.0,
        duration_s=1.0,
        times_s=None,
        sound=False,
        size=(48, 96),
        matrix=None,
        **options,
    ):
        if times_s is None:
            times_s = np.arange(0.0, duration_s - 1e-9, 1.0 / fps)
        path = tmp_path / name
        key = repr((path.suffix, list(times_s), duration_s, sound, size, sorted(options.items())))
        if key not in _MADE:
            frames, samples = _draw(times_s, *size), _tone(duration_s) if sound else None
            write_video(
                path, frames, times_s, samples, RATE_HZ if sound else None, duration_s=duration_s, **options
            )
            _MADE[key] = path.read_bytes()
        path.write_bytes(_MADE[key])
        if matrix is not None:
            turn(path, matrix)
        return path

    return write


@pytest.fixture
def draw() -> Callable[..., list[NDArray[np.uint8]]]:
    return _draw


@pytest.fixture
def position() -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return _position


@pytest.fixture
def tone() -> Callable[..., NDArray[np.float32]]:
    return _tone
