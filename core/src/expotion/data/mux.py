"""New sound under an old picture, and the old sound beside it. No ffmpeg binary is needed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expotion import timeline
from expotion.data.audio import fit
from expotion.data.containers import OWN_SOUND, VIDEO_SUFFIXES, check_picture, holds_picture
from expotion.data.limits import DEFAULT_LIMITS, Limits
from expotion.data.original_sound import OriginalSound
from expotion.data.scan import Scan, open_container, scan
from expotion.data.sound_files import write_wav
from expotion.data.sound_track import Bits, SoundTrack
from expotion.data.video_file import write_video
from expotion.data.writing import check_samples, open_output
from expotion.errors import MediaError, Problem

__all__ = ["can_be_copied", "mux_video", "write_video", "write_wav"]

MUSIC_TITLE = "Expotion"


def mux_video(
    video_path: Path | str,
    samples: NDArray[np.float32],
    sample_rate_hz: int,
    out_path: Path | str,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    keep_original_sound: bool = False,
    must_copy: bool = False,
    bits: Bits = 16,
    limits: Limits = DEFAULT_LIMITS,
) -> float:
    """Put mono samples float32 [n] under a file's picture; returns the written length in seconds.

    The container is that of `out_path`'s suffix: mp4 and mov get AAC, mkv FLAC (`bits` deep), webm Opus. Sound is
    cut or padded with silence to the clip's length and is the default track; `keep_original_sound` adds the
    file's own as the second, where it has one. The picture is copied packet by packet, at its timestamps from the
    file's shared zero, with its rotation. It is encoded anew only where a part of the file is wanted, where the
    stream is damaged, or where the container cannot hold its codec; with `must_copy` the last is an error.

    Raises MediaError where the file has no picture, where the container cannot hold it, and where the result has
    not the length of the clip (0.1 s and a frame are allowed).
    """
    from av.stream import Disposition  # noqa: PLC0415

    check_samples(video_path, samples)
    out_path = Path(out_path)
    suffix = out_path.suffix.lower()
    if suffix not in VIDEO_SUFFIXES:
        fix = f"end the name in {', '.join(VIDEO_SUFFIXES)}"
        raise MediaError(Problem(str(out_path), "a video format", suffix or "no suffix", fix))
    source = scan(video_path, limits)
    picture = source.picture
    if picture is None:
        fix = "give a file with a picture, or write the sound alone as wav"
        raise MediaError(Problem(str(video_path), "a picture", "a file with sound only", fix))
    if must_copy:
        check_picture(video_path, suffix, picture.codec)
    end_s = picture.end_s if duration_s is None else min(start_s + duration_s, picture.end_s)
    length_s = end_s - start_s
    if length_s <= 0:
        raise MediaError(Problem(str(video_path), f"start below {picture.end_s:.2f} s", f"{start_s:.2f} s"))
    fitted = fit(samples, timeline.n_samples(length_s, sample_rate_hz))
    original = source if keep_original_sound and source.sound is not None else None
    part = start_s > timeline.EPSILON_S or end_s < picture.end_s - timeline.EPSILON_S
    with contextlib.ExitStack() as stack:
        shown = source
        if part or not can_be_copied(source, suffix):
            shown = stack.enter_context(_encoded(source, suffix, start_s, length_s, limits))
        with open_output(out_path) as out, open_container(shown.path) as container:
            assert shown.picture is not None
            stream: Any = container.streams[shown.picture.stream_index]
            copied: Any = out.add_stream_from_template(stream)
            copied.disposition = stream.disposition | Disposition.default
            sound = SoundTrack(
                out, fitted, sample_rate_hz, OWN_SOUND[suffix], out_path, bits=bits, title=MUSIC_TITLE
            )
            old = stack.enter_context(_original(out, original, suffix, start_s, length_s))
            for packet in _packets(container, stream, shown.zero_s):
                sound.write_until(float(packet.dts * packet.time_base))
                if old is not None:
                    old.write_until(float(packet.dts * packet.time_base))
                packet.stream = copied
                out.mux(packet)
            sound.finish()
            if old is not None:
                old.finish()
    written = scan(out_path, limits)
    allowed_s = 0.1 + 1.0 / picture.fps
    if abs(written.duration_s - length_s) > allowed_s:
        raise MediaError(
            Problem(str(out_path), f"a length of {length_s:.3f} s", f"{written.duration_s:.3f} s")
        )
    return written.duration_s


def can_be_copied(source: Scan, suffix: str) -> bool:
    """Whether a file's whole picture can be copied packet by packet into a container."""
    picture = source.picture
    if picture is None or picture.damage is not None or not picture.seekable:
        return False
    return holds_picture(suffix, picture.codec)


def _packets(container: Any, stream: Any, zero_s: float) -> Iterator[Any]:
    """Packets of a stream, their times from the file's zero."""
    zero = round(zero_s / float(stream.time_base))
    for packet in container.demux(stream):
        if packet.size == 0 or packet.pts is None or packet.dts is None:
            continue
        packet.pts -= zero
        packet.dts -= zero
        yield packet


@contextlib.contextmanager
def _original(
    out: Any, source: Scan | None, suffix: str, start_s: float, length_s: float
) -> Iterator[OriginalSound | None]:
    """The clip's own sound, open while the block runs, or None."""
    if source is None:
        yield None
        return
    with contextlib.closing(OriginalSound(out, source, suffix, start_s, length_s)) as original:
        yield original


@contextlib.contextmanager
def _encoded(source: Scan, suffix: str, start_s: float, length_s: float, limits: Limits) -> Iterator[Scan]:
    """A stretch of a file's picture encoded anew, without sound, in a file that is removed afterwards."""
    from expotion.data.video import FileVideo  # noqa: PLC0415 - pulls in the decoders

    with contextlib.closing(FileVideo(source.path, start_s, length_s, limits=limits)) as video:
        times_s = video.frame_times_s.copy()
        times_s[0] = 0.0  # the first frame is on screen from the start

        def frames() -> Iterator[NDArray[np.uint8]]:
            for begin in range(0, len(times_s), 8):
                yield from video.frames_at(times_s[begin : begin + 8])

        with tempfile.TemporaryDirectory(prefix="expotion-") as folder:
            path = Path(folder) / ("picture.webm" if suffix == ".webm" else "picture.mp4")
            write_video(path, frames(), times_s, duration_s=length_s)
            yield scan(path, limits)
