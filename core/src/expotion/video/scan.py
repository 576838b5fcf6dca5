"""What a container says about its streams, read from its packets without decoding them.

The shared zero of a file is the earlier of the first picture and the first audible sample, so start offsets
and negative timestamps vanish and picture and sound stay in step.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.errors import MediaError, Problem
from expotion.video.container import DEFAULT_LIMITS, MEDIA_FIX, Limits, open_container
from expotion.video.packets import PacketLog, Packets, read_packets

Require = Literal["any", "video", "audio"]
"""What a file must have: `video` at least two frames, `audio` sound."""

_STATES_DURATION = ("mov,", "matroska,", "avi")
"""Containers whose header states a duration; for others FFmpeg may estimate it."""

_LATE_S = 0.25
"""A header that states an end this much after the last packet means that packets are missing."""


@dataclass(frozen=True)
class Picture:
    """The video stream of a file.

    `pts` int64 [n] in ticks, increasing, of every frame that is presented; `keyframe` bool [n]; `times_s`
    float64 [n] from the file's zero; `seekable` is false where frames have no timestamps of their own and
    are counted instead, or where times start again; `restarted` says the latter. `damage` says why the stream is
    not trusted, or is None.
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
    restarted: bool
    packets: Packets


@dataclass(frozen=True)
class Sound:
    """The audio stream of a file. `start_s` and `end_s` are seconds from the file's zero.

    `ordered` says that every packet has a time later than the one before; `restarted` that times start again.
    """

    stream_index: int
    codec: str
    sample_rate_hz: int
    channels: int
    start_s: float
    end_s: float
    ordered: bool
    restarted: bool


@dataclass(frozen=True)
class Scan:
    """A file's streams on one time axis. `zero_s` is the container time at which the file begins.

    `notes` say which stream is used where there are several of a kind.
    """

    path: Path
    size_bytes: int
    zero_s: float
    duration_s: float
    picture: Picture | None
    sound: Sound | None
    notes: tuple[str, ...] = ()


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


def check(source: Scan, require: Require) -> None:
    """Raise MediaError where a scanned file lacks what is required, or lasts no time."""
    where = str(source.path)
    if require == "video" and source.picture is None:
        raise MediaError(Problem(where, "a video", "a file with sound only", MEDIA_FIX))
    if require == "video" and source.picture is not None and len(source.picture.pts) < 2:
        fix = "a single picture has no movement: give a video"
        raise MediaError(Problem(where, "a video of at least two frames", "one frame", fix))
    if require == "audio" and source.sound is None:
        raise MediaError(Problem(where, "a file with sound", "none", "give a file with a sound track"))
    if source.duration_s <= 0.0:
        raise MediaError(Problem(where, "a clip that lasts some time", "0 s", MEDIA_FIX))


def _scan(path: Path, limits: Limits) -> Scan:
    with open_container(path, limits) as container:
        videos = [s for s in container.streams.video if not _is_cover(s)]
        if videos and all(s.codec_context is None for s in videos):
            got = "a stream of unknown format"
            raise MediaError(Problem(str(path), "a picture that can be decoded", got, MEDIA_FIX))
        videos = [s for s in videos if s.codec_context is not None]
        sounds = [s for s in container.streams.audio if s.codec_context is not None]
        logs = read_packets(container, [*videos, *sounds])
        video, audio = _chosen(videos, logs), _chosen(sounds, logs)
        if video is not None and video.width * video.height > limits.max_pixels:
            got = f"{video.width} x {video.height}"
            wanted = f"frames of at most {limits.max_pixels} pixels"
            raise MediaError(Problem(str(path), wanted, got, "scale the video down"))
        notes = [*_several("pictures", videos, video), *_several("sounds", sounds, audio)]
        stated = container.format.name.startswith(_STATES_DURATION)
        header_s = container.duration / 1_000_000 if container.duration and stated else 0.0
        matroska = container.format.name.startswith("matroska")
        start_s = container.start_time / 1_000_000 if container.start_time else 0.0
        raw_sound = _raw_sound(audio, logs[audio.index]) if audio is not None else None
        raw_picture = _raw_picture(video, logs[video.index]) if video is not None else None
    if raw_sound is not None:
        first_s = _first_audible_s(path, raw_sound[0].stream_index)
        raw_sound = None if first_s is None else (raw_sound[0], first_s, max(first_s, raw_sound[2]))
    starts = [raw[1] for raw in (raw_picture, raw_sound) if raw is not None]
    if not starts:
        got = "a file with neither (no frames, no samples)"
        raise MediaError(Problem(str(path), "a picture or a sound", got, MEDIA_FIX))
    zero_s = min(starts)
    sound = None
    if raw_sound is not None:
        sound = replace(raw_sound[0], start_s=raw_sound[1] - zero_s, end_s=raw_sound[2] - zero_s)
    header_end_s = start_s + header_s - zero_s
    if start_s > 0.0 and matroska:  # some writers state the end instead of the length
        header_end_s = header_s - zero_s
    picture = _place_picture(raw_picture[0], zero_s, header_end_s, sound, raw_picture[2]) if raw_picture else None
    duration_s = picture.end_s if picture else (sound.end_s if sound else 0.0)
    return Scan(path, path.stat().st_size, zero_s, duration_s, picture, sound, tuple(notes))


def _is_cover(stream: Any) -> bool:
    """Whether a video stream is only the cover picture of a sound file."""
    import av  # noqa: PLC0415

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _chosen(streams: Sequence[Any], logs: Mapping[int, PacketLog]) -> Any | None:
    """The stream that is marked default, else the longest; None where there is none."""
    from av.stream import Disposition  # noqa: PLC0415

    def rank(stream: Any) -> tuple[bool, float]:
        first, last = logs[stream.index].span()
        moving = stream.type != "video" or len(logs[stream.index].pts) > 1
        default = moving and bool(stream.disposition & Disposition.default)
        return default, (last - first) * logs[stream.index].tick_s

    return max(streams, key=rank, default=None)


def _several(kind: str, streams: Sequence[Any], chosen: Any | None) -> list[str]:
    if chosen is None or len(streams) < 2:
        return []
    return [f"{len(streams)} {kind} in one file: number {streams.index(chosen) + 1} is used"]


def _raw_sound(stream: Any, log: PacketLog) -> tuple[Sound, float, float] | None:
    """Sound, its first and its last time on the container's own time axis."""
    context = stream.codec_context
    if not log.pts or not context.sample_rate:
        return None
    first, last = log.span()
    ordered = (
        log.timed and not log.restarted and all(after > before for before, after in itertools.pairwise(log.pts))
    )
    channels = context.channels
    sound = Sound(stream.index, context.name, context.sample_rate, channels, 0.0, 0.0, ordered, log.restarted)
    return sound, first * log.tick_s, last * log.tick_s


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


def _raw_picture(stream: Any, log: PacketLog) -> tuple[Picture, float, float | None] | None:
    """Picture on the container's own time axis, its first time, and the header's end of the stream."""
    hidden = np.asarray(log.hidden, dtype=np.bool_)
    if hidden.all():  # also where there is no packet
        return None
    stored = np.asarray(log.pts, dtype=np.int64)
    order = np.flatnonzero(~hidden)
    order = order[np.argsort(stored[order], kind="stable")]
    pts = stored[order]
    keyframe = np.asarray(log.keyframe, dtype=np.bool_)[order]
    durations = np.asarray(log.durations, dtype=np.int64)[order]
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
    damage = log.damage
    if damage is None and _indexed(stream) > len(hidden):
        damage = f"{len(hidden)} of {_indexed(stream)} frames are there"
    fps = len(pts) / (until_s - float(times_s[0]))
    context = stream.codec_context
    framed = context.name not in {"av1", "libdav1d", "prores"}
    if context.name in {"h264", "hevc"}:
        framed = bool(context.extradata) and context.extradata[0] == 1
    packets = Packets(
        stored,
        np.asarray(log.dts, dtype=np.int64),
        np.asarray(log.sizes, dtype=np.int64),
        hidden,
        tick_s,
        log.keyframe[0],
        framed,
    )
    format = context.format  # `context.pix_fmt` crashes PyAV 17.0 where the format is unknown
    picture = Picture(
        stream_index=stream.index,
        codec=context.name,
        pts=pts,
        keyframe=keyframe,
        times_s=times_s,
        seekable=log.timed and not log.restarted,
        end_s=until_s,
        present_until_s=until_s,
        fps=fps,
        pixel_format=format.name if format is not None else "",
        bits=max((part.bits for part in format.components), default=8) if format is not None else 8,
        damage=damage,
        restarted=log.restarted,
        packets=packets,
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
