"""What is in a media file, in words for people; every unusable file ends in one clear MediaError."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from expotion.errors import MediaError, Problem
from expotion.video.container import DEFAULT_LIMITS, MEDIA_FIX, Limits
from expotion.video.decoders import PyAvDecoder
from expotion.video.scan import Scan, scan

Require = Literal["any", "video", "audio"]


@dataclass(frozen=True)
class VideoInfo:
    """A picture stream. Size in pixels after rotation metadata; `fps` is the mean rate."""

    width: int
    height: int
    fps: float
    n_frames: int
    codec: str
    pixel_format: str
    rotation_deg: int
    damage: str | None


@dataclass(frozen=True)
class AudioInfo:
    """A sound stream."""

    sample_rate_hz: int
    channels: int
    codec: str
    duration_s: float


@dataclass(frozen=True)
class MediaInfo:
    """A file. `duration_s` is the picture's, or the sound's where there is no picture."""

    path: Path
    duration_s: float
    size_bytes: int
    video: VideoInfo | None
    audio: AudioInfo | None


def probe(path: Path | str, *, require: Require = "any", limits: Limits = DEFAULT_LIMITS) -> MediaInfo:
    """Look into a file and decode its first frame.

    Raises MediaError for a file that is missing, empty, unreadable, without a frame that decodes, or without
    what is required: `video` asks for at least two frames, `audio` for sound.
    """
    source = scan(path, limits)
    check(source, require)
    video = _video_info(source) if source.picture is not None else None
    sound = source.sound
    audio = None
    if sound is not None:
        audio = AudioInfo(sound.sample_rate_hz, sound.channels, sound.codec, sound.end_s - sound.start_s)
    return MediaInfo(source.path, source.duration_s, source.size_bytes, video, audio)


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


def _video_info(source: Scan) -> VideoInfo:
    picture = source.picture
    assert picture is not None
    decoder = PyAvDecoder(source)
    height, width = decoder.size
    return VideoInfo(
        width=width,
        height=height,
        fps=picture.fps,
        n_frames=len(picture.pts),
        codec=picture.codec,
        pixel_format=picture.pixel_format,
        rotation_deg=decoder.orientation.rotation_deg,
        damage=picture.damage,
    )
