"""Opening a media file: what is accepted of an untrusted one, and under which names it is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expotion.errors import MediaError, Problem

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.frame import Frame
    from av.stream import Stream


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

FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,ivf,gif,h264,hevc,mjpeg,yuv4mpegpipe,dv,image2,"
    "png_pipe,jpeg_pipe,bmp_pipe,webp_pipe,mp3,wav,w64,flac,aac,aiff,caf,amr,ac3,eac3,au"
)
"""Formats that are opened. Playlists are not: they make a reader open other files and addresses."""

MEDIA_FIX = "give a video file such as mp4, mov, mkv or webm"

_VIDEO = "mp4 m4v mov qt mkv webm avi mpg mpeg m2v ts mts m2ts vob flv f4v wmv asf ogv 3gp 3g2 mxf gif"
_SOUND = "wav flac mp3 opus ogg oga m4a aac aif aiff caf w64 wma mp2 ac3 au amr mka weba"
VIDEO_NAMES = frozenset(f".{name}" for name in _VIDEO.split())
SOUND_NAMES = frozenset(f".{name}" for name in _SOUND.split())
"""File names' suffixes, in small letters, of videos and of sound: the one list for every command."""


def passed_over(folder: Path) -> str | None:
    """Sound files of a folder, counted and named: a folder is searched for videos alone. None for none."""
    sounds = [path.name for path in sorted(folder.rglob("*")) if path.suffix.lower() in SOUND_NAMES]
    return f"{len(sounds)} sound files ({', '.join(sounds[:3])})" if sounds else None


def decoded(container: InputContainer, stream: Stream) -> Iterator[Frame]:
    """Frames of a stream from where the container stands; damaged packets are passed over, as is a broken end."""
    import av  # noqa: PLC0415

    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            yield from frames  # type: ignore[misc]
    except av.FFmpegError:
        return


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
        fix = "cut the file, or raise max_bytes"
        raise MediaError(Problem(where, f"at most {limits.max_bytes} bytes", f"{size} bytes", fix))
    try:
        options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
        lenient: Any = {"metadata_errors": "ignore"} if av.__version__ < "19" else {}  # from 19 on it always is
        opened: InputContainer = av.open(str(path.resolve()), mode="r", container_options=options, **lenient)
        return opened
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fix = f"the file is cut off, damaged or no media file; {MEDIA_FIX}"
        wanted = "the file cannot be read as video or audio"
        raise MediaError(Problem(where, wanted, str(reason), fix)) from error
