"""What each container of video holds as it is, and which one a clip's picture fits into."""

from __future__ import annotations

from pathlib import Path

from expotion.data.sound_track import SoundCodec
from expotion.errors import MediaError, Problem

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
    raise MediaError(
        Problem(str(path), f"a picture that {suffix[1:]} holds ({taken})", plain_name(codec), fix)
    )
