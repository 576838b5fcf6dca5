"""Encode pictures at their own times, with sound. No ffmpeg binary is needed."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.data.sound_track import SoundTrack
from expotion.data.writing import open_output
from expotion.errors import MediaError, Problem

VIDEO_TICKS_HZ = 90_000
"""Time base of written video: every usual frame rate is exact or within 6 microseconds."""


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    times_s: NDArray[np.float64],
    samples: NDArray[np.float32] | None = None,
    sample_rate_hz: int | None = None,
    *,
    duration_s: float | None = None,
    crf: int = 18,
    preset: str = "veryfast",
    codec: str | None = None,
    pixel_format: str = "yuv420p",
    keyframe_every: int = 48,
    b_frames: int = 0,
    rotation_deg: float = 0.0,
) -> None:
    """Encode RGB frames uint8 [H, W, 3] at their own times, with mono sound where it is given.

    `times_s` [n] increases; the last frame lasts until `duration_s` (default: a typical frame's duration).
    H.264 and AAC (VP9 and Opus for .webm). Times are kept to 1/90000 s (1 ms in mkv and webm). yuv420p needs
    even sizes: an odd size gets one more row or column, a copy of the last. `rotation_deg` is only written
    as metadata. Raises MediaError for frames that do not fit; `path` is complete or untouched.
    """
    import av  # noqa: PLC0415

    times_s = np.asarray(times_s, dtype=np.float64)
    if samples is not None and not sample_rate_hz:
        raise MediaError(Problem(str(path), "a sample rate with the sound", "none"))
    if len(times_s) == 0 or bool(np.any(np.diff(times_s) <= 0)):
        raise MediaError(Problem(str(path), "frame times that increase", f"{len(times_s)} times"))
    last_s = (duration_s - float(times_s[-1])) if duration_s else (timeline.period_s(times_s) or 0.04)
    ticks = np.rint(times_s * VIDEO_TICKS_HZ).astype(np.int64)
    ends = np.append(ticks[1:], ticks[-1] + max(1, round(last_s * VIDEO_TICKS_HZ)))
    lasting = dict(zip(ticks.tolist(), (ends - ticks).tolist(), strict=True))
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise MediaError(Problem(str(path), f"{len(times_s)} frames", "none"))
    webm = Path(path).suffix.lower() == ".webm"
    with open_output(path) as out:
        fps = Fraction(1.0 / (timeline.period_s(times_s) or last_s)).limit_denominator(1001)
        stream = _add_picture(out, codec or ("libvpx-vp9" if webm else "libx264"), fps, path)
        base = Fraction(1, VIDEO_TICKS_HZ)
        stream.time_base = stream.codec_context.time_base = base
        even = pixel_format.startswith("yuv420")
        picture = _even(first) if even else first
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pixel_format
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = keyframe_every, b_frames
        stream.codec_context.options = _encoder_options(stream.codec_context.name, crf, preset)
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        sound = None
        if samples is not None and sample_rate_hz is not None:
            sound = SoundTrack(out, samples, sample_rate_hz, "libopus" if webm else "aac", path)
        written = 0
        for tick, frame in zip(ticks.tolist(), chain([first], iterator), strict=False):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                got = f"{frame.dtype} {frame.shape}"
                raise MediaError(
                    Problem(str(path), f"frames uint8 {first.shape}", f"{got} as frame {written}")
                )
            image = av.VideoFrame.from_ndarray(_even(frame) if even else frame, format="rgb24")
            image.pts, image.time_base = tick, base
            _mux_timed(out, stream.encode(image), lasting)
            if sound is not None:
                sound.write_until(tick / VIDEO_TICKS_HZ)
            written += 1
        if written < len(ticks):
            raise MediaError(Problem(str(path), f"{len(ticks)} frames", str(written)))
        _mux_timed(out, stream.encode(None), lasting)
        if sound is not None:
            sound.finish()


def _add_picture(out: Any, codec: str, fps: Fraction, path: Path | str) -> Any:
    try:
        return out.add_stream(codec, rate=fps)
    except ValueError as error:  # PyAV's answer to a codec that the container cannot hold
        fix = "use another file name suffix (mp4, mov, mkv, webm) or another codec"
        raise MediaError(Problem(str(path), "a codec that the container holds", str(error), fix)) from error


def _mux_timed(out: Any, packets: Any, lasting: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = lasting.get(packet.pts, packet.duration)
        out.mux(packet)


def _encoder_options(codec: str, crf: int, preset: str) -> dict[str, str]:
    if codec in {"libx264", "libx265"}:
        return {"crf": str(crf), "preset": preset}
    if codec.startswith("libvpx"):
        return {"crf": str(crf), "b": "0", "deadline": "realtime", "cpu-used": "8"}
    return {}


def _even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = frame.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(frame)
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
