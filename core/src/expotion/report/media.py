"""Sound and pictures as data URIs: AAC in MP4 for sound, H.264 for video, a JPEG still of the middle."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion.video.audio import resample
from expotion.video.writing import SoundTrack

AUDIO_BITS_PER_S = 80_000
VIDEO_BYTES_KEPT = 1_500_000
"""A longer file is made smaller before it is embedded."""
SHORTER_SIDE = 288
AAC_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def data_uri(content: bytes, media_type: str) -> str:
    """A `data:` URI in base64."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def encode_sound(samples: NDArray[np.float32], sample_rate_hz: int) -> bytes:
    """Mono samples float32 [n] as AAC in MP4. Samples beyond ±1 are cut; a rate AAC lacks becomes 48 kHz."""
    import av  # noqa: PLC0415 - heavy, needed only when a report is written

    samples = np.nan_to_num(np.asarray(samples, dtype=np.float32))
    if sample_rate_hz not in AAC_RATES_HZ:
        samples, sample_rate_hz = resample(samples, sample_rate_hz, 48_000), 48_000
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        track = SoundTrack(container, samples, sample_rate_hz, "aac", "the sound of a page")
        track.stream.bit_rate = AUDIO_BITS_PER_S
        track.finish()
    return buffer.getvalue()


def encode_picture(frames: Iterable[Any], rate_hz: Fraction | int, crf: int, **options: str) -> bytes:
    """Frames of even size, with times in their own time base, as H.264 in MP4; nothing but a header for none."""
    import av  # noqa: PLC0415

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate_hz)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.options = {"crf": str(crf), "preset": "veryfast", **options}
                stream.codec_context.time_base = frame.time_base
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()


def prepare_video(video: Path | bytes) -> tuple[bytes, bytes | None, tuple[int, int]]:
    """(MP4 bytes to embed, JPEG still, (height, width)) of a video.

    Raises OSError or ValueError (PyAV's errors derive from these) where it cannot be read.
    """
    content = video if isinstance(video, bytes) else Path(video).read_bytes()
    still, size = _still(content)
    if len(content) > VIDEO_BYTES_KEPT:
        smaller = _smaller(content)
        if len(smaller) < len(content):
            content = smaller
    return content, still, size


def _still(content: bytes) -> tuple[bytes | None, tuple[int, int]]:
    """A JPEG of the frame in the middle, and the size of the picture."""
    import av  # noqa: PLC0415
    import cv2  # noqa: PLC0415

    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        if stream.duration:
            container.seek(stream.duration // 2, stream=stream)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError("the video has no frame that can be decoded")
        rgb = frame.to_ndarray(format="rgb24")
    height, width = rgb.shape[:2]
    scale = min(1.0, 480 / min(height, width))
    small = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return (jpeg.tobytes() if done else None), (height, width)


def _smaller(content: bytes) -> bytes:
    """The picture again with a shorter side of 288, H.264, timestamps kept, without sound."""
    import av  # noqa: PLC0415

    with av.open(io.BytesIO(content), "r") as source:
        picture = source.streams.video[0]
        width, height = picture.codec_context.width, picture.codec_context.height
        scale = min(1.0, SHORTER_SIDE / min(width, height))
        width, height = (2 * round(side * scale / 2) for side in (width, height))

        def scaled() -> Iterator[Any]:
            for frame in source.decode(picture):
                small = frame.reformat(width=width, height=height, format="yuv420p")
                small.pts, small.time_base = frame.pts, frame.time_base
                yield small

        return encode_picture(scaled(), picture.average_rate or 25, crf=28)
