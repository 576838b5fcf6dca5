"""Writing containers: whole or not at all, the same bytes every time, with pictures and sound encoded here."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem
from expotion.files import replacing
from expotion.video.audio import resample

if TYPE_CHECKING:
    from av.container import OutputContainer

_DISK = frozenset({errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EDQUOT})
_OTHER_SUFFIX = "use another file name suffix (mp4, mov, mkv, webm) or another codec"


@contextmanager
def open_output(path: Path | str, verify: Callable[[Path], None] = lambda draft: None) -> Iterator[OutputContainer]:
    """A container that takes the place of `path` when the block succeeds; its kind is that of the suffix.

    `verify` is given the closed file before that; what it raises is passed on.
    Nothing in it depends on the time or on chance (matroska and ogg otherwise draw identifiers). An mp4 can be
    played before it is complete. Raises MediaError for a codec that does not fit, OutputError for a disk that
    is full or cannot be written to.
    """
    import av  # noqa: PLC0415 - the command line starts without it

    options = {"fflags": "+bitexact"}
    if Path(path).suffix.lower() in {".mp4", ".mov"}:
        options["movflags"] = "+faststart"
    with replacing(path) as part:
        try:
            with av.open(str(part), "w", options=options) as out:
                yield out
            verify(part)
        except av.FFmpegError as error:
            if error.errno in _DISK:  # `replacing` explains those
                raise OSError(error.errno, error.strerror) from error
            wanted = "a file that can be written"
            raise MediaError(Problem(str(path), wanted, str(error.strerror), _OTHER_SUFFIX)) from error


def name_track(out: OutputContainer, stream: Any, title: str, *, default: bool) -> None:
    """Give a track the name that players show, and say whether they choose it by themselves."""
    from av.stream import Disposition  # noqa: PLC0415

    matroska = out.format.name in {"matroska", "webm"}
    stream.metadata["title" if matroska else "handler_name"] = title
    stream.disposition = Disposition.default.value if default else 0


def check_samples(path: Path | str, samples: NDArray[np.float32]) -> None:
    """Raise MediaError unless samples are [n] or stereo [n, 2], and finite."""
    if samples.ndim != 1 and samples.shape[1:] != (2,):
        raise MediaError(Problem(str(path), "samples [n] or [n, 2]", f"shape {samples.shape}"))
    if not bool(np.isfinite(samples).all()):
        raise MediaError(Problem(str(path), "samples that are finite numbers", "NaN or infinity"))


# Samples as a sound track of a container, in step with a picture or alone.

SoundCodec = Literal["aac", "flac", "libopus"]
Bits = Literal[16, 24]

OPUS_RATE_HZ = 48_000
"""Opus is always at this rate in our files: the codec has none of 32 kHz."""

LOSSY_BITS_PER_S = 160_000
_CHUNK = 1024
_AHEAD_S = 0.5


class SoundTrack:
    """Feeds samples float32 [n] or [n, 2], clipped to -1..1, to an open container.

    `bits` is FLAC's depth. The track ends with the last sample: what an encoder pads is not written. Raises
    MediaError for samples that are not finite.
    """

    def __init__(
        self,
        out: Any,
        samples: NDArray[np.float32],
        sample_rate_hz: int,
        codec: SoundCodec,
        path: Path | str,
        *,
        bits: Bits = 16,
        title: str | None = None,
    ) -> None:
        check_samples(path, samples)
        self._out, self._sent = out, 0
        self._rate_hz = OPUS_RATE_HZ if codec == "libopus" else sample_rate_hz
        self._samples = np.clip(resample(samples, sample_rate_hz, self._rate_hz), -1.0, 1.0)
        self._layout = "mono" if samples.ndim == 1 else "stereo"
        self.stream = out.add_stream(codec, rate=self._rate_hz, layout=self._layout)
        context = self.stream.codec_context
        if codec == "flac":
            context.format = "s16" if bits == 16 else "s32"  # FFmpeg keeps the upper 24 of s32
        else:
            context.bit_rate = LOSSY_BITS_PER_S
        if title is not None:
            name_track(out, self.stream, title, default=True)

    def write_until(self, time_s: float) -> None:
        """Encode what is heard until half a second after this time."""
        end = min(len(self._samples), timeline.n_samples(time_s + _AHEAD_S, self._rate_hz))
        while self._sent < end and (end - self._sent >= _CHUNK or end == len(self._samples)):
            chunk = self._samples[self._sent : self._sent + _CHUNK]
            frame = self._frame(chunk)
            frame.sample_rate, frame.pts = self._rate_hz, self._sent
            frame.time_base = Fraction(1, self._rate_hz)
            self._sent += len(chunk)
            self._mux(self.stream.encode(frame))

    def finish(self) -> None:
        """Encode the rest."""
        self.write_until(len(self._samples) / self._rate_hz)
        self._mux(self.stream.encode(None))

    def _frame(self, chunk: NDArray[np.float32]) -> Any:
        import av  # noqa: PLC0415

        format, planar = self.stream.codec_context.format.name, self.stream.codec_context.format.is_planar
        # [n, 2] -> a row per channel where the format is planar, else one row, left beside right
        shaped: NDArray[Any] = np.ascontiguousarray(np.atleast_2d(chunk.T)) if planar else chunk.reshape(1, -1)
        if format.startswith("s16"):
            shaped = np.rint(shaped * 32767.0).astype(np.int16)
        elif format.startswith("s32"):
            shaped = np.rint(shaped.astype(np.float64) * 8_388_607.0).astype(np.int32) << 8
        return av.AudioFrame.from_ndarray(shaped, format, self._layout)

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            end = round(Fraction(len(self._samples), self._rate_hz) / packet.time_base)
            if packet.pts is not None and packet.pts >= end:
                continue
            if packet.pts is not None and packet.duration:
                packet.duration = min(packet.duration, end - packet.pts)
            self._out.mux(packet)


# What each container of video holds as it is, and which one a clip's picture fits into.

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")

_COMMON = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
PICTURES: dict[str, frozenset[str]] = {
    ".mp4": _COMMON,
    ".mov": frozenset({"h264", "hevc", "mpeg4", "prores", "mjpeg", "dnxhd"}),
    ".mkv": _COMMON
    | {"vp8", "theora", "mjpeg", "mpeg1video", "mpeg2video", "prores", "ffv1", "h263", "wmv3", "vc1"},
    ".webm": frozenset({"vp8", "vp9", "av1"}),
}
"""Picture codecs that are copied. mp4 is kept to what browsers and phones play from it."""

SOUNDS: dict[str, frozenset[str]] = {
    ".mp4": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}),
    ".mov": frozenset({"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be"}),
    ".mkv": frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "dts", "opus", "vorbis", "flac"})
    | {"alac", "pcm_s16le", "pcm_s24le", "pcm_f32le"},
    ".webm": frozenset({"opus", "vorbis"}),
}
"""Sound codecs that are copied; others are encoded as the container's own codec."""

OWN_SOUND: dict[str, SoundCodec] = {".mp4": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "libopus"}
"""The codec of new sound."""


def plain_name(codec: str) -> str:
    """A codec's name without that of the library that decodes it."""
    known = {"libdav1d": "av1", "libaom-av1": "av1", "libopus": "opus", "libvorbis": "vorbis"}
    return known.get(codec, codec.removeprefix("libvpx-").replace("libvpx", "vp8"))


def holds_picture(suffix: str, codec: str) -> bool:
    """Whether a container takes a picture codec as it is."""
    return plain_name(codec) in PICTURES[suffix]


def fitting_suffix(codec: str) -> str | None:
    """The container for a picture where the user names none: mp4, else mkv, else None."""
    return next((suffix for suffix in (".mp4", ".mkv") if holds_picture(suffix, codec)), None)


def check_picture(path: Path | str, suffix: str, codec: str) -> None:
    """Raise MediaError, with containers that would do, where the picture cannot be copied into this one."""
    if holds_picture(suffix, codec):
        return
    others = [other for other in VIDEO_SUFFIXES if holds_picture(other, codec)]
    fix = f"write {' or '.join(others)}" if others else "convert the clip to H.264 first, or write a wav"
    taken = ", ".join(sorted(PICTURES[suffix]))
    wanted = f"a picture that {suffix[1:]} holds ({taken})"
    raise MediaError(Problem(str(path), wanted, plain_name(codec), fix))


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
) -> None:
    """Encode RGB frames uint8 [H, W, 3] at their own times, with sound where it is given.

    `times_s` [n] increases; the last frame lasts until `duration_s` (default: a typical frame's duration).
    H.264 and AAC (VP9 and Opus for .webm). Times are kept to 1/90000 s (1 ms in mkv and webm). yuv420p needs
    even sizes: an odd size gets one more row or column, a copy of the last.
    Raises MediaError for frames that do not fit; `path` is complete or untouched.
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
    suffix = Path(path).suffix.lower()
    with open_output(path) as out:
        fps = Fraction(1.0 / (timeline.period_s(times_s) or last_s)).limit_denominator(1001)
        stream = _add_picture(out, codec or ("libvpx-vp9" if suffix == ".webm" else "libx264"), fps, path)
        base = Fraction(1, VIDEO_TICKS_HZ)
        stream.time_base = stream.codec_context.time_base = base
        even = pixel_format.startswith("yuv420")
        picture = _even(first) if even else first
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pixel_format
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = keyframe_every, b_frames
        stream.codec_context.options = _encoder_options(stream.codec_context.name, crf, preset)
        sound = None
        if samples is not None and sample_rate_hz is not None:
            codec_name = OWN_SOUND.get(suffix, "aac")
            sound = SoundTrack(out, samples, sample_rate_hz, codec_name, path)
        written = 0
        for tick, frame in zip(ticks.tolist(), chain([first], iterator), strict=False):
            if frame.shape != first.shape or frame.dtype != np.uint8:
                got = f"{frame.dtype} {frame.shape} as frame {written}"
                raise MediaError(Problem(str(path), f"frames uint8 {first.shape}", got))
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
        wanted = "a codec that the container holds"
        raise MediaError(Problem(str(path), wanted, str(error), _OTHER_SUFFIX)) from error


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
