"""Sound of a video or sound file, mono, on the clip's time axis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.video.container import decoded, open_container
from expotion.video.scan import Scan, scan

if TYPE_CHECKING:
    from av import AudioFrame

MAX_DRIFT_S = 0.02
"""Blocks whose timestamp differs by more from where the block before ended are moved to their timestamp."""

LOUDEST = 1e6
"""Floating-point samples beyond this (full scale is 1) are no sound: infinite, or no numbers at all."""


def resample(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Samples float32 [n] or [n, 2] at another rate, float32 [round(n * to / from), ..], without delay."""
    if from_hz == to_hz or len(samples) == 0:
        return samples.astype(np.float32, copy=False)
    import soxr  # noqa: PLC0415

    wanted = round(len(samples) * to_hz / from_hz)
    resampled = soxr.resample(samples.astype(np.float32, copy=False), from_hz, to_hz, quality="HQ")
    return fit(np.asarray(resampled, dtype=np.float32), wanted)


def fit(samples: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Samples [m] or [m, 2] cut, or padded with silence at the end, to float32 [n] or [n, 2]."""
    out = np.zeros((n, *samples.shape[1:]), np.float32)
    out[: min(n, len(samples))] = samples[:n]
    return out


@dataclass(frozen=True)
class Heard:
    """A stretch of a file's sound: `samples` float32 [n] mono, and what is wrong with it.

    `not_numbers` counts samples of any channel that are no usable number (taken as 0); `cancelled_db` is how much
    quieter the mean of the channels is than the channels themselves, high where one of two is inverted.
    """

    samples: NDArray[np.float32]
    not_numbers: int
    cancelled_db: float


def load_audio(
    path: Path | str, sample_rate_hz: int, start_s: float = 0.0, duration_s: float | None = None
) -> NDArray[np.float32] | None:
    """Mono samples float32 [n] of a stretch of a file, or None where it has no sound: those of `hear`."""
    heard = hear(scan(path), sample_rate_hz, start_s, duration_s)
    return None if heard is None else heard.samples


def hear(source: Scan, sample_rate_hz: int, start_s: float = 0.0, duration_s: float | None = None) -> Heard | None:
    """Sound of a stretch of a scanned file, or None where it has none.

    Times are from the file's shared zero of picture and sound. Channels are averaged. The result has
    exactly `duration_s` (default: to the file's end) of samples; silence stands where the file has no sound.
    A sound that stops decoding ends in silence. Raises MediaError for a file that cannot be read.
    """
    if source.sound is None:
        return None
    if duration_s is None:
        duration_s = max(source.duration_s - start_s, 0.0)
    rate_hz = source.sound.sample_rate_hz
    native = np.zeros(timeline.n_samples(duration_s, rate_hz), np.float32)
    not_numbers, loud, mixed = 0, 0.0, 0.0
    for position, block, n_bad in _runs(source, start_s, len(native)):
        mono = block.mean(axis=0, dtype=np.float32)
        not_numbers += n_bad
        loud += float(np.square(block, dtype=np.float64).mean(axis=0).sum())
        mixed += float(np.square(mono, dtype=np.float64).sum())
        _place(native, mono, position)
    cancelled_db = 10.0 * math.log10((loud + 1e-12) / (mixed + 1e-12))
    samples = fit(resample(native, rate_hz, sample_rate_hz), timeline.n_samples(duration_s, sample_rate_hz))
    return Heard(samples, not_numbers, cancelled_db)


def _runs(source: Scan, start_s: float, n: int) -> Iterator[tuple[int, NDArray[np.float32], int]]:
    """Blocks float32 [channels, m] at the sound's own rate, each with its place and its samples that are no number.

    A block stands where the one before ended, or at its timestamp where that differs. Blocks of another rate are
    collected and resampled as one, so that nothing is lost between them. Ends at place `n`.
    """
    assert source.sound is not None
    rate_hz = source.sound.sample_rate_hz
    position: int | None = None
    other: list[NDArray[np.float32]] = []
    other_hz = n_bad = 0
    shift = 0

    def collected() -> NDArray[np.float32]:
        joined = np.concatenate(other, axis=1)
        other.clear()
        return np.stack([resample(channel, other_hz, rate_hz) for channel in joined])

    for time_s, block_hz, block, bad in decoded_sound(source, start_s):
        pending = sum(part.shape[1] for part in other) * rate_hz // (other_hz or 1)
        stamped = None if time_s is None else round(time_s * rate_hz) + shift
        moved = position is None or (
            stamped is not None and abs(stamped - position - pending) > MAX_DRIFT_S * rate_hz
        )
        if source.sound.restarted and position is not None and stamped is not None and moved:
            shift += position + pending - stamped  # times start again: go on from where the sound is
            moved = False
        if other and position is not None and (moved or block_hz != other_hz or len(block) != len(other[0])):
            whole = collected()
            yield position, whole, n_bad
            position, n_bad = position + whole.shape[1], 0
        if moved or position is None:
            position = stamped or 0
        if block_hz != rate_hz:
            other.append(block)
            other_hz, n_bad = block_hz, n_bad + bad
            continue
        yield position, block, bad
        position += block.shape[1]
        if position >= n:
            return
    if other and position is not None:
        yield position, collected(), n_bad


def decoded_sound(source: Scan, start_s: float) -> Iterator[tuple[float | None, int, NDArray[np.float32], int]]:
    """Decoded blocks from some time before `start_s` on: (time from it, rate, float32 [channels, n], not numbers).

    Damaged packets are passed over; a file that cannot be read further ends.
    """
    import av  # noqa: PLC0415

    assert source.sound is not None
    origin_s = source.zero_s + start_s
    with open_container(source.path) as container:
        stream = container.streams[source.sound.stream_index]
        if start_s > 1.0 and stream.time_base and not source.sound.restarted:
            container.seek(int((origin_s - 0.5) / stream.time_base), stream=stream, backward=True)
        for frame in decoded(container, stream):
            assert isinstance(frame, av.AudioFrame)
            block, n_bad = _channels(frame)
            time_s = None if frame.time is None else frame.time - origin_s
            yield time_s, frame.sample_rate, block, n_bad


def _channels(frame: AudioFrame) -> tuple[NDArray[np.float32], int]:
    """A decoded block, float32 [channels, n] in -1..1, and how many of its samples are no usable number."""
    block = frame.to_ndarray()
    if not frame.format.is_planar:
        block = block.reshape(-1, frame.layout.nb_channels).T
    if block.dtype == np.uint8:
        return (block.astype(np.float32) - 128.0) / 128.0, 0
    if np.issubdtype(block.dtype, np.integer):
        return block.astype(np.float32) / float(2 ** (8 * block.dtype.itemsize - 1)), 0
    with np.errstate(over="ignore"):
        floats = block.astype(np.float32)
    usable = np.abs(floats) <= LOUDEST  # false for NaN
    return np.where(usable, floats, np.float32(0.0)), int(usable.size - usable.sum())


def _place(out: NDArray[np.float32], block: NDArray[np.float32], position: int) -> None:
    begin, end = max(position, 0), min(position + len(block), len(out))
    if end > begin:
        out[begin:end] = block[begin - position : end - position]
