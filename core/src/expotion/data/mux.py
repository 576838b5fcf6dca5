"""Write sound files, videos, and new sound under an old picture. No ffmpeg binary is needed."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.data.limits import DEFAULT_LIMITS, Limits
from expotion.data.scan import Scan, open_container, scan
from expotion.errors import MediaError, Problem
from expotion.files import replacing

VIDEO_TICKS_HZ = 90_000
"""Time base of written video: every usual frame rate is exact or within 6 microseconds."""

COPIED_CODECS = frozenset({"h264", "hevc", "av1", "libdav1d", "vp9", "mpeg4"})
"""Picture codecs that are copied into mp4 as they are; others are encoded anew."""

_CHUNK = 1024
_OPUS_RATE_HZ = 48_000


def write_wav(path: Path | str, samples: NDArray[np.float32], sample_rate_hz: int) -> None:
    """Write mono samples float32 [n] as 16-bit PCM, clipped to -1..1, atomically."""
    import soundfile  # noqa: PLC0415

    _check_samples(path, samples)
    with replacing(path) as part:
        soundfile.write(part, np.clip(samples, -1.0, 1.0), sample_rate_hz, subtype="PCM_16", format="WAV")


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
    with (
        replacing(path) as part,
        _clear_errors(path),
        av.open(str(part), "w", options=_container_options(part)) as out,
    ):
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
        sound = _SoundTrack(out, samples, sample_rate_hz, "libopus" if webm else "aac", path)
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
            sound.write_until(tick / VIDEO_TICKS_HZ)
            written += 1
        if written < len(ticks):
            raise MediaError(Problem(str(path), f"{len(ticks)} frames", str(written)))
        _mux_timed(out, stream.encode(None), lasting)
        sound.finish()


def mux_video(
    video_path: Path | str,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    out_path: Path | str,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> float:
    """Put mono samples float32 [n] under a file's picture and write an mp4; returns its length in seconds.

    Sound is cut or padded with silence to the clip's length. The picture is copied packet by packet; it is
    encoded anew where only a part of the file is wanted (`start_s`, `duration_s`), where the stream is
    damaged, or where mp4 cannot hold its codec. Raises MediaError where the file has no picture or the
    result has not the length of the clip (0.1 s and a frame are allowed).
    """
    _check_samples(video_path, samples)
    source = scan(video_path, limits)
    picture = source.picture
    if picture is None:
        fix = "give a file with a picture, or write the sound alone as wav"
        raise MediaError(Problem(str(video_path), "a picture", "a file with sound only", fix))
    end_s = picture.end_s if duration_s is None else min(start_s + duration_s, picture.end_s)
    length_s = end_s - start_s
    if length_s <= 0:
        raise MediaError(Problem(str(video_path), f"start below {picture.end_s:.2f} s", f"{start_s:.2f} s"))
    wanted = timeline.n_samples(length_s, sample_rate_hz)
    fitted = np.zeros(wanted, np.float32)
    fitted[: min(wanted, len(samples))] = samples[:wanted]
    whole = start_s <= timeline.EPSILON_S and end_s >= picture.end_s - timeline.EPSILON_S
    if whole and picture.damage is None and picture.seekable and picture.codec in COPIED_CODECS:
        _copy_picture(source, fitted, sample_rate_hz, Path(out_path))
    else:
        _encode_picture(
            Path(video_path),
            fitted,
            sample_rate_hz,
            Path(out_path),
            start_s=start_s,
            duration_s=length_s,
            limits=limits,
        )
    written = scan(out_path, limits)
    allowed_s = 0.1 + 1.0 / picture.fps
    if abs(written.duration_s - length_s) > allowed_s:
        raise MediaError(
            Problem(str(out_path), f"a length of {length_s:.3f} s", f"{written.duration_s:.3f} s")
        )
    return written.duration_s


def _copy_picture(source: Scan, samples: NDArray[np.float32], rate_hz: int, out_path: Path) -> None:
    import av  # noqa: PLC0415

    picture = source.picture
    assert picture is not None
    with replacing(out_path) as part, _clear_errors(out_path), open_container(source.path) as container:
        stream: Any = container.streams[picture.stream_index]
        zero = round(source.zero_s / float(stream.time_base))
        with av.open(str(part), "w", format="mp4", options=_container_options(part)) as out:
            copied = out.add_stream_from_template(stream)
            sound = _SoundTrack(out, samples, rate_hz, "aac", out_path)
            for packet in container.demux(stream):
                if packet.size == 0 or packet.pts is None or packet.dts is None:
                    continue
                packet.pts -= zero
                packet.dts -= zero
                sound.write_until(float(packet.dts * packet.time_base))
                packet.stream = copied
                out.mux(packet)
            sound.finish()


def _encode_picture(
    path: Path,
    samples: NDArray[np.float32],
    rate_hz: int,
    out_path: Path,
    *,
    start_s: float,
    duration_s: float,
    limits: Limits,
) -> None:
    from expotion.data.video import FileVideo  # noqa: PLC0415 - pulls in the decoders

    video = FileVideo(path, start_s, duration_s, limits=limits)
    times_s = video.frame_times_s.copy()
    times_s[0] = 0.0  # the first frame is on screen from the start

    def frames() -> Iterator[NDArray[np.uint8]]:
        for begin in range(0, len(times_s), 8):
            yield from video.frames_at(times_s[begin : begin + 8])

    write_video(out_path, frames(), times_s, samples, rate_hz, duration_s=duration_s)


@contextmanager
def _clear_errors(path: Path | str) -> Iterator[None]:
    """FFmpeg's errors as MediaError, except those of the disk, which `replacing` explains."""
    import av  # noqa: PLC0415

    try:
        yield
    except av.FFmpegError as error:
        if error.errno in {errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EDQUOT}:
            raise OSError(error.errno, error.strerror) from error
        fix = "use another file name suffix (mp4, mov, mkv, webm) or another codec"
        raise MediaError(
            Problem(str(path), "a file that can be written", f"{error.strerror}", fix)
        ) from error


class _SoundTrack:
    """Feeds mono sound to a container, in step with the picture."""

    def __init__(
        self,
        out: Any,
        samples: NDArray[np.float32] | None,
        sample_rate_hz: int | None,
        codec: str,
        path: Path | str,
    ) -> None:
        self._out, self._stream, self._sent, self._encoded = out, None, 0, 0
        if samples is None:
            return
        if not sample_rate_hz:
            raise MediaError(Problem(str(path), "a sample rate with the sound", "none"))
        _check_samples(path, samples)
        self._samples, self._rate_hz = np.clip(samples, -1.0, 1.0).astype(np.float32), sample_rate_hz
        if codec == "libopus" and sample_rate_hz != _OPUS_RATE_HZ:
            from expotion.data.audio import resample  # noqa: PLC0415

            self._samples, self._rate_hz = (
                resample(self._samples, sample_rate_hz, _OPUS_RATE_HZ),
                _OPUS_RATE_HZ,
            )
        self._stream = out.add_stream(codec, rate=self._rate_hz, layout="mono")
        self._stream.codec_context.bit_rate = 160_000

    def write_until(self, time_s: float) -> None:
        if self._stream is None:
            return
        import av  # noqa: PLC0415

        end = min(len(self._samples), timeline.n_samples(time_s + 0.5, self._rate_hz))
        while self._sent < end and (end - self._sent >= _CHUNK or end == len(self._samples)):
            chunk = self._samples[self._sent : self._sent + _CHUNK]
            planar = self._stream.codec_context.format.is_planar
            frame = av.AudioFrame.from_ndarray(
                chunk[None, :], format="fltp" if planar else "flt", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = (
                self._rate_hz,
                self._sent,
                Fraction(1, self._rate_hz),
            )
            self._sent += len(chunk)
            self._mux(self._stream.encode(frame))

    def finish(self) -> None:
        if self._stream is not None:
            self.write_until(len(self._samples) / self._rate_hz)
            self._mux(self._stream.encode(None))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            end = round(Fraction(len(self._samples), self._rate_hz) / packet.time_base)
            if packet.pts is not None and packet.pts >= end:
                continue  # only padding that the encoder added
            if packet.pts is not None and packet.duration:
                packet.duration = min(packet.duration, end - packet.pts)
            self._out.mux(packet)


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


def _container_options(path: Path) -> dict[str, str]:
    return {"movflags": "+faststart"} if path.suffix.lower() in {".mp4", ".mov", ".m4v"} else {}


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


def _check_samples(path: Path | str, samples: NDArray[np.float32]) -> None:
    if samples.ndim != 1:
        raise MediaError(Problem(str(path), "mono samples [n]", f"shape {samples.shape}"))
    if not bool(np.isfinite(samples).all()):
        raise MediaError(Problem(str(path), "samples that are finite numbers", "NaN or infinity"))
