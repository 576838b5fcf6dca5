"""Files as other programs write them, made from nothing: boxes of an mp4 or mov patched in place."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

MATRICES = {
    "as it is": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "half a turn": (-1, 0, 0, -1),
    "a quarter to the right": (0, 1, -1, 0),
    "a quarter to the left": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
"""The eight display orientations as (a, b, c, d) of x' = a x + c y, y' = b x + d y."""


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix of the first track of an mp4 or mov (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 52 if data[at] == 1 else 40  # version 1 has three times of 8 bytes instead of 4
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


def frames(n: int, size: tuple[int, int] = (64, 96)) -> list[NDArray[np.uint8]]:
    """RGB frames uint8 [H, W, 3], each unlike the others and unlike its mirror image."""
    height, width = size
    made = []
    for i in range(n):
        frame = np.full((height, width, 3), 30, np.uint8)
        frame[: height // 3, : width // 2] = (200, 60, 40)
        frame[:, (3 * i) % width : (3 * i) % width + 8] = 255 - 4 * i % 200
        made.append(frame)
    return made


def encode(path: Path, codec: str = "libx264", **options: Any) -> Path:
    """A video of `n` frames, with a tone of the codec `sound` beside it where one is named: see `_encode`.

    The same video is encoded once in a process, and copied from then on.
    """
    key = (path.suffix, codec, repr(sorted(options.items())))
    if key not in _ENCODED:
        _encode(path, codec, **options)
        _ENCODED[key] = path.read_bytes()
    path.write_bytes(_ENCODED[key])
    return path


_ENCODED: dict[tuple[str, str, str], bytes] = {}


def _encode(
    path: Path,
    codec: str = "libx264",
    *,
    n: int = 30,
    fps: int = 30,
    format: str | None = None,
    pixel_format: str = "yuv420p",
    gop: int = 250,
    b_frames: int = 0,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    sound: str | None = None,
    rate_hz: int = 48_000,
    start_s: float = 0.0,
) -> None:
    with av.open(str(path), "w", format=format, options=container or {}) as out:
        stream = out.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, b_frames
        stream.codec_context.options = options or {}
        audio = None if sound is None else out.add_stream(sound, rate=rate_hz, layout="mono")
        for i, frame in enumerate(frames(n)):
            image = av.VideoFrame.from_ndarray(frame, format="rgb24")
            image.pts, image.time_base = i + round(start_s * fps), Fraction(1, fps)
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
        if audio is not None:
            if sound == "aac":
                audio.codec_context.options = {"aac_coder": "fast"}
            tone = np.sin(2 * np.pi * 440.0 * np.arange(rate_hz * n // fps) / rate_hz)
            fifo = av.AudioFrame.from_ndarray((tone * 9000).astype(np.int16)[None, :], "s16", "mono")
            fifo.sample_rate, fifo.pts = rate_hz, round(start_s * rate_hz)
            fifo.time_base = Fraction(1, rate_hz)
            resampler = av.AudioResampler(audio.codec_context.format, "mono", rate_hz, audio.frame_size or 1024)
            for part in [*resampler.resample(fifo), *resampler.resample(None)]:
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))


def remux(source: Path, target: Path, change: Callable[[int, Any], None] = lambda number, packet: None) -> Path:
    """The same packets in another container; `change` may alter the number-th packet of the picture."""
    with av.open(str(source)) as read, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in read.streams}
        number = 0
        for packet in read.demux():
            if packet.size == 0:
                continue
            if packet.stream.type == "video":
                change(number, packet)
                number += 1
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return target


def shown(path: Path) -> tuple[list[float], list[NDArray[np.uint8]]]:
    """Times from the first frame on, seconds, and RGB frames, as a plain player decodes them from the start."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video)
        found = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
    return [time - found[0][0] for time, _ in found], [frame for _, frame in found]
