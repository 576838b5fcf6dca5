"""Sound of a video or sound file, mono, on the clip's time axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.video.container import DEFAULT_LIMITS, Limits, open_container
from expotion.video.scan import Scan, scan

MAX_DRIFT_S = 0.02
"""Blocks whose timestamp differs by more from where the block before ended are moved to their timestamp."""


def resample(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Samples float32 [n] at another rate, float32 [round(n * to / from)], without delay."""
    if from_hz == to_hz or len(samples) == 0:
        return samples.astype(np.float32, copy=False)
    import soxr  # noqa: PLC0415

    wanted = round(len(samples) * to_hz / from_hz)
    resampled = soxr.resample(samples.astype(np.float32, copy=False), from_hz, to_hz, quality="HQ")
    return fit(np.asarray(resampled, dtype=np.float32), wanted)


def fit(samples: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Samples cut, or padded with silence at the end, to float32 [n]."""
    out = np.zeros(n, np.float32)
    out[: min(n, len(samples))] = samples[:n]
    return out


def load_audio(
    path: Path | str,
    sample_rate_hz: int,
    start_s: float = 0.0,
    duration_s: float | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    scanned: Scan | None = None,
) -> NDArray[np.float32] | None:
    """Mono samples float32 [n] of a stretch of a file, or None where it has no sound.

    Times are from the file's shared zero of picture and sound. Channels are averaged. The result has
    exactly `duration_s` (default: to the file's end) of samples; silence stands where the file has no sound.
    A sound that stops decoding ends in silence. Raises MediaError for a file that cannot be read.
    """
    source = scanned or scan(path, limits)
    if source.sound is None:
        return None
    if duration_s is None:
        duration_s = max(source.duration_s - start_s, 0.0)
    rate_hz = source.sound.sample_rate_hz
    native = np.zeros(timeline.n_samples(duration_s, rate_hz), np.float32)
    _read(source, start_s, rate_hz, native)
    return fit(resample(native, rate_hz, sample_rate_hz), timeline.n_samples(duration_s, sample_rate_hz))


def _read(source: Scan, start_s: float, rate_hz: int, out: NDArray[np.float32]) -> None:
    """Decode into `out`, each block at its timestamp."""
    import av  # noqa: PLC0415

    assert source.sound is not None
    origin_s = source.zero_s + start_s
    position: int | None = None
    with open_container(source.path) as container:
        stream = container.streams[source.sound.stream_index]
        if start_s > 1.0 and stream.time_base:
            container.seek(int((origin_s - 0.5) / stream.time_base), stream=stream, backward=True)
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    assert isinstance(frame, av.AudioFrame)
                    block = _mono(frame)
                    if frame.sample_rate != rate_hz:
                        block = resample(block, frame.sample_rate, rate_hz)
                    stamped = None if frame.time is None else round((frame.time - origin_s) * rate_hz)
                    if position is None or (
                        stamped is not None and abs(stamped - position) > MAX_DRIFT_S * rate_hz
                    ):
                        position = stamped or 0
                    _place(out, block, position)
                    position += len(block)
                    if position >= len(out):
                        return
        except av.FFmpegError:
            return


def _mono(frame: object) -> NDArray[np.float32]:
    """Mean of the channels of a decoded block, float32 [n] in -1..1."""
    import av  # noqa: PLC0415

    assert isinstance(frame, av.AudioFrame)
    block = frame.to_ndarray()
    channels = frame.layout.nb_channels
    if not frame.format.is_planar:
        block = block.reshape(-1, channels).T
    scaled: NDArray[np.float32]
    if block.dtype == np.uint8:
        scaled = (block.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(block.dtype, np.integer):
        scaled = block.astype(np.float32) / float(2 ** (8 * block.dtype.itemsize - 1))
    else:
        scaled = block.astype(np.float32)
    mixed: NDArray[np.float32] = np.nan_to_num(scaled).mean(axis=0, dtype=np.float32)
    return mixed


def _place(out: NDArray[np.float32], block: NDArray[np.float32], position: int) -> None:
    begin, end = max(position, 0), min(position + len(block), len(out))
    if end > begin:
        out[begin:end] = block[begin - position : end - position]
