"""What a container says about its streams, read from its packets without decoding them.

The shared zero of a file is the earlier of the first picture and the first audible sample, so start offsets
and negative timestamps vanish and picture and sound stay in step.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem

# A cheap look at H.264 and H.265 packets that finds damage without decoding.

_H264_SPS, _HEVC_SPS = 7, 33


class NalCheck:
    """Checks that length-prefixed units fill each packet exactly (ISO/IEC 14496-15, 4.3.3).

    Overwritten bytes break the chain of lengths nearly always. A parameter set inside the stream that
    differs from the one before means that the frame size may change. Other codecs are not looked at.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._length_bytes = 0
        self._hevc = codec == "hevc"
        self._parameters: bytes | None = None
        if not extradata or extradata[0] != 1:
            return
        if codec == "h264" and len(extradata) > 6:
            self._length_bytes = (extradata[4] & 3) + 1
        elif self._hevc and len(extradata) > 22:
            self._length_bytes = (extradata[21] & 3) + 1

    def problem(self, packet: Any) -> str | None:
        """What is wrong with a packet, or None."""
        n = self._length_bytes
        if n == 0:
            return None
        data = memoryview(packet)
        position = 0
        while position < len(data):
            length = int.from_bytes(data[position : position + n], "big")
            begin, position = position + n, position + n + length
            if length == 0 or position > len(data) or data[begin] & 0x80:
                return "a packet holds damaged bytes"
            kind = (data[begin] >> 1) & 0x3F if self._hevc else data[begin] & 0x1F
            if kind == (_HEVC_SPS if self._hevc else _H264_SPS):
                unit = bytes(data[begin:position])
                if self._parameters is not None and unit != self._parameters:
                    return "the picture format changes in the middle"
                self._parameters = unit
        return None


# How much of an untrusted file is accepted, and what happens to what is larger.


@dataclass(frozen=True)
class Limits:
    """Bounds on media files.

    A clip (the window that is asked for, not the file) longer than `max_duration_s`, frames of more than
    `max_pixels` and files of more than `max_bytes` are refused with a MediaError. Frames whose shorter side
    is above `work_shorter_side` are accepted and reduced to it right after decoding, so that an 8K file
    costs no more memory than a 1080p one.
    """

    max_duration_s: float = 600.0
    max_pixels: int = 8192 * 8192
    max_bytes: int = 8 * 1024**3
    work_shorter_side: int = 1080


DEFAULT_LIMITS = Limits()


if TYPE_CHECKING:
    from av.container import InputContainer

_STATES_DURATION = ("mov,", "matroska,", "avi")
"""Containers whose header states a duration; for others FFmpeg may estimate it."""

FORMATS = (
    *(
        "mov",
        "matroska",
        "webm",
        "avi",
        "mpegts",
        "mpeg",
        "mpegvideo",
        "flv",
        "asf",
        "ogg",
        "mxf",
        "ivf",
        "gif",
    ),
    *(
        "h264",
        "hevc",
        "mjpeg",
        "yuv4mpegpipe",
        "dv",
        "image2",
        "png_pipe",
        "jpeg_pipe",
        "bmp_pipe",
        "webp_pipe",
    ),
    *("mp3", "wav", "w64", "flac", "aac", "aiff", "caf", "amr", "ac3", "eac3", "au"),
)
"""Formats that are opened. Playlists are not: they make a reader open other files and addresses."""

MEDIA_FIX = "give a video file such as mp4, mov, mkv or webm"


_LATE_S = 0.25
"""A header that states an end this much after the last packet means that packets are missing."""


@dataclass(frozen=True)
class Picture:
    """The video stream of a file.

    `pts` int64 [n] in ticks, increasing, of every frame that is presented; `keyframe` bool [n]; `times_s`
    float64 [n] from the file's zero; `seekable` is false where frames have no timestamps of their own and
    are counted instead; `damage` says why the stream is not trusted, or is None.
    """

    stream_index: int
    codec: str
    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]
    times_s: NDArray[np.float64]
    seekable: bool
    end_s: float
    present_until_s: float
    fps: float
    pixel_format: str
    bits: int
    damage: str | None


@dataclass(frozen=True)
class Sound:
    """The audio stream of a file. `start_s` and `end_s` are seconds from the file's zero."""

    stream_index: int
    codec: str
    sample_rate_hz: int
    channels: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Scan:
    """A file's streams on one time axis. `zero_s` is the container time at which the file begins."""

    path: Path
    size_bytes: int
    zero_s: float
    duration_s: float
    picture: Picture | None
    sound: Sound | None


def open_container(path: Path, limits: Limits = DEFAULT_LIMITS) -> InputContainer:
    """Open a file with PyAV. Raises MediaError for a missing, empty, too large or unreadable file."""
    import av  # noqa: PLC0415 - the command line starts without it

    where = str(path)
    if not path.exists():
        raise MediaError(Problem(where, "no such file", fix="check the path"))
    if not path.is_file():
        raise MediaError(Problem(where, "a media file", "a folder", MEDIA_FIX))
    size = path.stat().st_size
    if size == 0:
        raise MediaError(Problem(where, "the file is empty", "0 bytes", "copy or download it again"))
    if size > limits.max_bytes:
        raise MediaError(
            Problem(
                where,
                f"at most {limits.max_bytes} bytes",
                f"{size} bytes",
                "cut the file, or raise max_bytes",
            )
        )
    try:
        options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
        return av.open(str(path.resolve()), mode="r", metadata_errors="ignore", container_options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = f"the file is cut off, damaged or no media file; {MEDIA_FIX}"
        raise MediaError(
            Problem(where, "the file cannot be read as video or audio", str(reason), fix)
        ) from error


_SCANS: OrderedDict[tuple[str, int, int, Limits], Scan] = OrderedDict()
_SCANS_KEPT = 16


def scan(path: Path | str, limits: Limits = DEFAULT_LIMITS) -> Scan:
    """Read a file's timestamps, once: the last few files are remembered by place, size and modification time.

    Raises MediaError where it holds neither picture nor sound.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError:
        return _scan(path, limits)  # says what is wrong
    key = (os.path.realpath(path), status.st_mtime_ns, status.st_size, limits)
    found = _SCANS.get(key) or _scan(path, limits)
    _SCANS[key] = found
    _SCANS.move_to_end(key)
    while len(_SCANS) > _SCANS_KEPT:
        _SCANS.popitem(last=False)
    return found if found.path == path else replace(found, path=path)


def _scan(path: Path, limits: Limits) -> Scan:
    with open_container(path, limits) as container:
        video = next((s for s in container.streams.video if not _is_cover(s)), None)
        audio = next(iter(container.streams.audio), None)
        if video is not None and video.codec_context is None:
            raise MediaError(
                Problem(str(path), "a picture that can be decoded", "a stream of unknown format", MEDIA_FIX)
            )
        if video is not None and video.width * video.height > limits.max_pixels:
            got = f"{video.width} x {video.height}"
            raise MediaError(
                Problem(
                    str(path), f"frames of at most {limits.max_pixels} pixels", got, "scale the video down"
                )
            )
        packets = _read_packets(container, video, audio)
        stated = container.format.name.startswith(_STATES_DURATION)
        header_s = container.duration / 1_000_000 if container.duration and stated else 0.0
        matroska = container.format.name.startswith("matroska")
        start_s = container.start_time / 1_000_000 if container.start_time else 0.0
        raw_sound = _raw_sound(audio, packets.audio) if audio is not None else None
        raw_picture = _raw_picture(video, packets) if video is not None else None
    if raw_sound is not None:
        first_s = _first_audible_s(path, raw_sound[0].stream_index)
        raw_sound = None if first_s is None else (raw_sound[0], first_s, max(first_s, raw_sound[2]))
    starts = [raw[1] for raw in (raw_picture, raw_sound) if raw is not None]
    if not starts:
        raise MediaError(
            Problem(
                str(path), "a picture or a sound", "a file with neither (no frames, no samples)", MEDIA_FIX
            )
        )
    zero_s = min(starts)
    sound = None
    if raw_sound is not None:
        sound = replace(raw_sound[0], start_s=raw_sound[1] - zero_s, end_s=raw_sound[2] - zero_s)
    header_end_s = start_s + header_s - zero_s
    if start_s > 0.0 and matroska:  # some writers state the end instead of the length
        header_end_s = header_s - zero_s
    picture = (
        _place_picture(raw_picture[0], zero_s, header_end_s, sound, raw_picture[2]) if raw_picture else None
    )
    duration_s = picture.end_s if picture else (sound.end_s if sound else 0.0)
    return Scan(path, path.stat().st_size, zero_s, duration_s, picture, sound)


@dataclass
class _Packets:
    pts: list[int]
    durations: list[int]
    keyframe: list[bool]
    seekable: bool
    audio: tuple[float, float] | None
    damage: str | None
    n_seen: int = 0


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is only the cover picture of a sound file."""
    import av  # noqa: PLC0415

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _read_packets(container: InputContainer, video: Any, audio: Any) -> _Packets:
    """Timestamps of every packet of the two streams."""
    import av  # noqa: PLC0415

    out = _Packets([], [], [], True, None, None)
    check = NalCheck(video.codec_context.name, video.codec_context.extradata) if video is not None else None
    streams = [stream for stream in (video, audio) if stream is not None]
    if not streams:
        return out
    audio_start = audio_end = None
    try:
        for packet in container.demux(streams):
            if packet.size == 0:
                continue
            if audio is not None and packet.stream.index == audio.index:
                tick = packet.pts if packet.pts is not None else packet.dts
                if tick is not None:
                    begin = float(tick * packet.time_base)
                    end = float((tick + (packet.duration or 0)) * packet.time_base)
                    audio_start = begin if audio_start is None else min(audio_start, begin)
                    audio_end = end if audio_end is None else max(audio_end, end)
                continue
            if packet.is_corrupt and out.damage is None:
                out.damage = "a packet is cut off"
            if check is not None and out.damage is None:
                out.damage = check.problem(packet)
            out.n_seen += 1
            if packet.is_discard:
                continue
            tick = packet.pts
            if tick is None:
                out.seekable = False
                tick = packet.dts if packet.dts is not None else len(out.pts)
            out.pts.append(tick)
            out.durations.append(packet.duration or 0)
            out.keyframe.append(packet.is_keyframe)
    except av.FFmpegError as error:
        out.damage = out.damage or f"reading stops early ({error.strerror})"
    if audio_start is not None and audio_end is not None:
        out.audio = (audio_start, audio_end)
    return out


def _raw_sound(stream: Any, span: tuple[float, float] | None) -> tuple[Sound, float, float] | None:
    if span is None or not stream.codec_context.sample_rate:
        return None
    context = stream.codec_context
    sound = Sound(stream.index, context.name, context.sample_rate, context.channels, 0.0, 0.0)
    return sound, span[0], span[1]


def _first_audible_s(path: Path, stream_index: int) -> float | None:
    """Container time of the first decoded sample: priming samples that players skip do not count."""
    import av  # noqa: PLC0415

    with open_container(path) as container:
        try:
            for frame in container.decode(container.streams[stream_index]):
                if isinstance(frame, av.AudioFrame) and frame.samples:
                    return float(frame.time or 0.0)
        except av.FFmpegError:
            return None
    return None


def _raw_picture(stream: Any, packets: _Packets) -> tuple[Picture, float, float | None] | None:
    """Picture on the container's own time axis, its first time, and the header's end of the stream."""
    if not packets.pts:
        return None
    order = np.argsort(np.asarray(packets.pts, dtype=np.int64), kind="stable")
    pts = np.asarray(packets.pts, dtype=np.int64)[order]
    keyframe = np.asarray(packets.keyframe, dtype=np.bool_)[order]
    durations = np.asarray(packets.durations, dtype=np.int64)[order]
    keep = np.concatenate([[True], np.diff(pts) > 0])
    pts, keyframe, durations = pts[keep], keyframe[keep], durations[keep]
    tick_s = float(stream.time_base)
    times_s = pts * tick_s
    rate = float(stream.average_rate or stream.guessed_rate or 0.0)
    last_s = float(durations[-1]) * tick_s
    if last_s <= 0.0:
        last_s = timeline.period_s(times_s) or (1.0 / rate if rate > 0 else 0.04)
    until_s = float(times_s[-1]) + last_s
    header_end_s = float(stream.duration * stream.time_base) + float(times_s[0]) if stream.duration else None
    if header_end_s is not None and float(times_s[-1]) + last_s / 4.0 < header_end_s < until_s:
        until_s = header_end_s
    damage = packets.damage
    if damage is None and _indexed(stream) > packets.n_seen:
        damage = f"{packets.n_seen} of {_indexed(stream)} frames are there"
    fps = len(pts) / (until_s - float(times_s[0]))
    context = stream.codec_context
    format = context.format  # `context.pix_fmt` crashes PyAV 17.0 where the format is unknown
    picture = Picture(
        stream_index=stream.index,
        codec=context.name,
        pts=pts,
        keyframe=keyframe,
        times_s=times_s,
        seekable=packets.seekable,
        end_s=until_s,
        present_until_s=until_s,
        fps=fps,
        pixel_format=format.name if format is not None else "",
        bits=max((part.bits for part in format.components), default=8) if format is not None else 8,
        damage=damage,
    )
    return picture, float(times_s[0]), header_end_s


def _indexed(stream: Any) -> int:
    """Packets that an mp4 or mov index lists (edit lists applied); 0 where PyAV does not tell."""
    entries = getattr(stream, "index_entries", None)
    if entries is None or not stream.container.format.name.startswith("mov"):
        return 0
    return len(entries)


def _place_picture(
    raw: Picture, zero_s: float, header_end_s: float, sound: Sound | None, stream_end_s: float | None
) -> Picture:
    """The picture on the file's time axis; its end is the header's where frames at the end are missing."""
    until_s = raw.present_until_s - zero_s
    end_s = until_s
    damage = raw.damage
    sound_end_s = sound.end_s if sound is not None else 0.0
    if float(raw.times_s[-1]) - zero_s + 1e-3 < header_end_s < until_s and damage is None:
        until_s = end_s = header_end_s
    if damage is not None and stream_end_s is not None:
        end_s = max(until_s, stream_end_s - zero_s)
    elif header_end_s > max(until_s, sound_end_s) + _LATE_S:
        end_s = header_end_s
        damage = damage or f"the header says {header_end_s:.2f} s, frames end at {until_s:.2f} s"
    return replace(raw, times_s=raw.times_s - zero_s, end_s=end_s, present_until_s=until_s, damage=damage)
